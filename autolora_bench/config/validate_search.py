"""Settings of AutoLoRA's search that make no sense together."""

from autolora_bench.config.search import (
    SEVERAL_STEPS,
    Constraint,
    Estimator,
    Rule,
    Scope,
    SearchConfig,
    SelectionOptimizer,
)
from autolora_bench.errors import require


def validate_search(search: SearchConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    require(
        search.initial != 0 or search.constraint is not Constraint.unconstrained,
        f"method.search.initial=0 with method.search.constraint={search.constraint.name}",
        "say another number: every gradient would be 0 for ever",
    )
    require(
        search.inner_steps == 1 or search.estimator in SEVERAL_STEPS,
        f"method.search.inner_steps={search.inner_steps} with method.search.estimator={search.estimator.name}, which "
        "knows the way back through one step",
        f"say estimator={', '.join(e.name for e in SEVERAL_STEPS)}, or leave inner_steps out",
    )
    require(
        search.inner_steps > 1 or search.estimator is not Estimator.reptile,
        "method.search.estimator=reptile with method.search.inner_steps=1: one step is no path to follow",
        "say inner_steps=2 or more, or estimator=first_order",
    )
    _moves(search)
    _rule(search)


def _rule(search: SearchConfig) -> None:
    require(
        search.budget is None or search.mean_rank is None,
        f"method.search.budget={search.budget} and method.search.mean_rank={search.mean_rank}",
        "say one of them: mean_rank is the budget as a mean over the layers",
    )
    require(
        search.rule is Rule.budget or search.minimum_rank == SearchConfig.minimum_rank,
        f"method.search.minimum_rank={search.minimum_rank} with method.search.rule={search.rule.name}, which decides "
        "by itself what a layer keeps",
        "leave minimum_rank out, or say rule=budget",
    )
    mean = search.minimum_rank if search.mean_rank is None else search.mean_rank
    require(
        search.minimum_rank <= mean <= search.components,
        f"method.search.mean_rank={mean:g} with components={search.components}, minimum_rank={search.minimum_rank}",
        "say a mean rank from the smallest to the number of components",
    )
    require(
        search.rule is not Rule.budget or search.minimum_rank < search.components,
        f"method.search.minimum_rank={search.minimum_rank} of {search.components} components, which keeps all of them: "
        "there is nothing to choose",
        f"say method.search.components={2 * search.components}, or a smaller minimum_rank",
    )
    require(
        search.mean_rank is None or mean < search.components,
        f"method.search.mean_rank={mean:g} of {search.components} components, which keeps all of them: there is "
        "nothing to choose",
        f"say method.search.components={2 * search.components}, or a smaller mean rank",
    )
    require(
        (search.rule is Rule.threshold) == (search.threshold is not None),
        f"method.search.rule={search.rule.name} with method.search.threshold={search.threshold}",
        "rule=threshold and threshold=NUMBER go together",
    )
    require(
        search.threshold is None
        or search.constraint is Constraint.unconstrained
        or 0 < search.threshold <= 1,
        f"method.search.threshold={search.threshold} with method.search.constraint={search.constraint.name}",
        "say a number above 0, up to 1: the selection weights are between them",
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


def _moves(search: SearchConfig) -> None:
    per_layer = search.constraint is Constraint.softmax or (
        search.constraint is Constraint.topk and search.scope is Scope.layer
    )
    require(
        search.components > 1 or not per_layer,
        f"method.search.components=1 with method.search.constraint={search.constraint.name}, in which the only "
        "component of a layer always has the weight 1",
        "say components=2 or more, or constraint=sigmoid",
    )
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
