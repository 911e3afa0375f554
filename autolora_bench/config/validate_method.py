"""Settings of methods that are each of the right type but make no sense, alone or together."""

from collections.abc import Callable
from typing import Any

from autolora_bench.config.bounds import at_least, positive, require, seed, share
from autolora_bench.config.method import (
    AdaLoraConfig,
    AdapterConfig,
    Allocation,
    AutoLoraConfig,
    LoraConfig,
    MethodConfig,
    RankedLoraConfig,
    Scaling,
)
from autolora_bench.config.prompts import LlamaAdapterConfig, PrefixConfig, PromptConfig, PTuningConfig
from autolora_bench.config.validate_search import validate_search


def validate_method(method: MethodConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    positive(method, "learning_rate")
    at_least(method, "weight_decay", 0)
    if hasattr(method, "alpha"):
        positive(method, "alpha")
    if hasattr(method, "dropout"):
        share(method, "dropout")
    for kind, check in CHECKS.items():
        if isinstance(method, kind):
            check(method)


def _lora(method: LoraConfig) -> None:
    at_least(method, "rank", 1)


def _adapter(method: AdapterConfig) -> None:
    at_least(method, "bottleneck", 1)
    share(method, "drop")
    positive(method, "initial_std")


def _adalora(method: AdaLoraConfig) -> None:
    at_least(method, "target_rank", 1)
    at_least(method, "interval", 1)
    require(
        method.initial_rank > method.target_rank,
        f"method.initial_rank={method.initial_rank} leaves nothing to prune to target_rank={method.target_rank}",
        "say an initial rank above the target rank (the authors take half as much again)",
    )
    for name in ("initial_share", "final_share", "sensitivity_beta", "uncertainty_beta"):
        share(method, name)
    for name in ("sensitivity_beta", "uncertainty_beta"):
        positive(method, name)  # PEFT asserts it
    require(
        method.initial_share + method.final_share < 1,
        f"method.initial_share={method.initial_share} and final_share={method.final_share} leave no steps between them",
        "say shares whose sum is below 1: ranks are allocated in the steps between",
    )
    at_least(method, "orthogonality", 0)


def _ranked(method: RankedLoraConfig) -> None:
    for setting in ("components", "total"):
        at_least(method, setting, 1)
    seed(method.allocation_seed, "method.allocation_seed")
    require(
        method.reference is None or method.cell is not None,
        f"method.reference={method.reference} was not looked up",
        "say method.source=FOLDER_OF_A_FINISHED_RUN, or method.reference=null",
    )
    require(
        0 <= method.minimum_rank <= method.components,
        f"method.minimum_rank={method.minimum_rank} with method.components={method.components}",
        "say a smallest rank from 0 to the largest",
    )
    _given_ranks(method)
    given = bool(method.ranks) or method.total is not None or method.cell is not None
    _reference_rank(method, not given, "leave it out: total, source or ranks decide the ranks")


def _given_ranks(method: RankedLoraConfig) -> None:
    name = method.allocation.name
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
        method.total is None or (method.cell is None and not method.ranks),
        f"method.total={method.total} and method.{'source' if method.source else 'ranks'}, which gives the total",
        "say one of them",
    )
    require(
        all(rank >= 0 for rank in method.ranks.values()),
        f"method.ranks={method.ranks}",
        "say ranks of 0 or more",
    )


def _autolora(method: AutoLoraConfig) -> None:
    validate_search(method.search)
    decides = "the search decides the ranks, up to method.search.components and by method.search.rule"
    _reference_rank(method, False, f"leave it out: {decides}")


def _reference_rank(method: RankedLoraConfig | AutoLoraConfig, is_mean: bool, mend: str) -> None:
    """Raises UserError where `rank` is below 1, or is not the default and decides nothing.

    It counts for a run's identity all the same: a sweep over it would run the same numbers again. It decides constant
    scaling, and the layers' ranks where it `is_mean` of them.
    """
    require(
        is_mean or method.scaling is Scaling.constant or method.rank == type(method)().rank,
        f"method.rank={method.rank} has no effect with method.scaling={method.scaling.name}",
        mend,
    )
    at_least(method, "rank", 1)


def _prompts(method: PrefixConfig | PromptConfig | PTuningConfig | LlamaAdapterConfig) -> None:
    at_least(method, "virtual_tokens", 1)
    if isinstance(method, PrefixConfig):
        at_least(method, "projection", 1)
    if isinstance(method, PTuningConfig):
        at_least(method, "units", 1)
    if isinstance(method, LlamaAdapterConfig):
        share(method, "drop")
        at_least(method, "base_batch_size", 1)


CHECKS: dict[type[MethodConfig], Callable[[Any], None]] = {
    LoraConfig: _lora,
    AdapterConfig: _adapter,
    AdaLoraConfig: _adalora,
    RankedLoraConfig: _ranked,
    AutoLoraConfig: _autolora,
    **dict.fromkeys((PrefixConfig, PromptConfig, PTuningConfig, LlamaAdapterConfig), _prompts),
}
