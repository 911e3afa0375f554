"""Settings of methods that are each of the right type but make no sense, alone or together."""

from collections.abc import Callable
from typing import Any

from autolora_bench.config.method import (
    AdaLoraConfig,
    AdapterConfig,
    Allocation,
    AutoLoraConfig,
    LoraConfig,
    MethodConfig,
    RankedLoraConfig,
)
from autolora_bench.config.search import Constraint, Rule, Scope, SearchConfig, SelectionOptimizer
from autolora_bench.errors import UserError


def require(holds: bool, what: str, mend: str) -> None:
    """Raises UserError unless `holds`."""
    if not holds:
        raise UserError(what, mend)


def validate_method(method: MethodConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    _positive(method, "learning_rate")
    if hasattr(method, "dropout"):
        _share(method, "dropout")
    for kind, check in CHECKS.items():
        if isinstance(method, kind):
            check(method)


def _lora(method: LoraConfig) -> None:
    _at_least(method, "rank", 1)


def _adapter(method: AdapterConfig) -> None:
    _at_least(method, "bottleneck", 1)
    _share(method, "drop")
    _positive(method, "initial_std")


def _adalora(method: AdaLoraConfig) -> None:
    _at_least(method, "target_rank", 1)
    _at_least(method, "interval", 1)
    require(
        method.initial_rank > method.target_rank,
        f"method.initial_rank={method.initial_rank} leaves nothing to prune to target_rank={method.target_rank}",
        "say an initial rank above the target rank (the authors take half as much again)",
    )
    for name in ("initial_share", "final_share", "sensitivity_beta", "uncertainty_beta"):
        _share(method, name)
    require(
        method.initial_share + method.final_share < 1,
        f"method.initial_share={method.initial_share} and final_share={method.final_share} leave no steps between them",
        "say shares whose sum is below 1: ranks are allocated in the steps between",
    )
    require(method.orthogonality >= 0, f"method.orthogonality={method.orthogonality}", "say 0 or more")


def _ranked(method: RankedLoraConfig) -> None:
    name = method.allocation.name
    _at_least(method, "rank", 1)
    copies = method.allocation in (Allocation.shuffled, Allocation.given)
    require(
        not copies or method.cell is not None or bool(method.ranks),
        f"method.allocation={name} needs ranks",
        "say method.source=FOLDER_OF_A_FINISHED_RUN, or a CSV or JSON file with layer, projection and rank",
    )
    require(
        not copies or method.total is None,
        f"method.total={method.total} with method.allocation={name}, which has its total from its ranks",
        "leave method.total out",
    )
    require(
        method.total is None or method.cell is None,
        f"method.total={method.total} and method.source, which gives the total",
        "say one of them",
    )
    require(method.total is None or method.total >= 1, f"method.total={method.total}", "say 1 or more")
    require(
        0 <= method.minimum_rank <= method.components,
        f"method.minimum_rank={method.minimum_rank} with method.components={method.components}",
        "say a smallest rank from 0 to the largest",
    )


def _search(method: AutoLoraConfig) -> None:
    search = method.search
    for name in ("components", "interval", "batch_size"):
        _at_least(search, name, 1, "method.search")
    require(
        0 < search.train_share < 1,
        f"method.search.train_share={search.train_share}",
        "say a share between 0 and 1: the rest of the training set trains the selection variables",
    )
    for name in ("betas", "selection_betas"):
        betas = getattr(search, name)
        require(
            len(betas) == 2 and all(0 <= beta < 1 for beta in betas),
            f"method.search.{name}={betas}",
            "say two numbers from 0 to below 1",
        )
    _movement(search)
    _rule(search)


def _rule(search: SearchConfig) -> None:
    require(
        search.budget is None or search.mean_rank is None,
        f"method.search.budget={search.budget} and method.search.mean_rank={search.mean_rank}",
        "say one of them: mean_rank is the budget as a mean over the layers",
    )
    mean = search.minimum_rank if search.mean_rank is None else search.mean_rank
    require(
        0 <= search.minimum_rank <= mean <= search.components,
        f"method.search.mean_rank={mean:g} with components={search.components}, minimum_rank={search.minimum_rank}",
        "say a mean rank from the smallest to the number of components",
    )
    require(
        (search.rule is Rule.threshold) == (search.threshold is not None),
        f"method.search.rule={search.rule.name} with method.search.threshold={search.threshold}",
        "rule=threshold and threshold=NUMBER go together",
    )
    topk = search.constraint is Constraint.topk
    given = search.budget is not None or search.mean_rank is not None
    require(
        (topk or search.rule is Rule.budget) == given,
        f"method.search.constraint={search.constraint.name} and rule={search.rule.name} with "
        f"method.search.budget={search.budget}, mean_rank={search.mean_rank}",
        "constraint=topk or rule=budget, and budget or mean_rank=NUMBER, go together",
    )
    if topk:
        _topk(search)


def _topk(search: SearchConfig) -> None:
    require(
        search.rule in (Rule.budget, Rule.half, Rule.threshold),
        f"method.search.rule={search.rule.name} with method.search.constraint=topk, whose weights say what is kept",
        "say rule=budget, which keeps as many as the budget, or rule=half or rule=threshold, which may keep others",
    )
    require(
        search.mean_rank is None or 0 < search.mean_rank < search.components,
        f"method.search.constraint=topk with mean_rank={search.mean_rank} of {search.components} components",
        "say a mean rank above 0 and below the number of components: otherwise there is nothing to choose",
    )


def _movement(search: SearchConfig) -> None:
    require(
        search.scope is Scope.model or search.constraint is Constraint.topk,
        f"method.search.scope={search.scope.name} with method.search.constraint={search.constraint.name}",
        "scope says what the budget of constraint=topk is shared by: leave it out, or say constraint=topk",
    )
    adam = search.selection_optimizer is SelectionOptimizer.adamw
    require(
        adam or search.selection_betas == SearchConfig().selection_betas,
        f"method.search.selection_betas={search.selection_betas} with "
        f"method.search.selection_optimizer={search.selection_optimizer.name}, which has no moments",
        "leave selection_betas out, or say selection_optimizer=adamw",
    )


def _at_least(node: Any, name: str, least: int, path: str = "method") -> None:
    value = getattr(node, name)
    require(value >= least, f"{path}.{name}={value}", f"say {least} or more")


def _positive(node: Any, name: str) -> None:
    value = getattr(node, name)
    require(value > 0, f"method.{name}={value}", "say a number above 0")


def _share(node: Any, name: str) -> None:
    value = getattr(node, name)
    require(0 <= value < 1, f"method.{name}={value}", "say a share from 0 to below 1")


CHECKS: dict[type[MethodConfig], Callable[[Any], None]] = {
    LoraConfig: _lora,
    AdapterConfig: _adapter,
    AdaLoraConfig: _adalora,
    RankedLoraConfig: _ranked,
    AutoLoraConfig: _search,
}
