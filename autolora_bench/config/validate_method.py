"""Settings of methods that are each of the right type but make no sense together."""

from collections.abc import Callable
from typing import Any

from autolora_bench.config.allocators import AllocatorConfig, validate_allocator
from autolora_bench.config.method import (
    AdaLoraConfig,
    Allocation,
    AutoLoraConfig,
    MethodConfig,
    PlantedRanksConfig,
    RankedLoraConfig,
    Scaling,
)
from autolora_bench.config.validate_search import validate_search
from autolora_bench.errors import require


def validate_method(method: MethodConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    for kind, check in CHECKS.items():
        if isinstance(method, kind):
            check(method)


def _adalora(method: AdaLoraConfig) -> None:
    require(
        method.initial_rank > method.target_rank,
        f"method.initial_rank={method.initial_rank} leaves nothing to prune to target_rank={method.target_rank}",
        "say an initial rank above the target rank (the authors take half as much again)",
    )
    require(
        method.initial_share + method.final_share < 1,
        f"method.initial_share={method.initial_share} and final_share={method.final_share} leave no steps between them",
        "say shares whose sum is below 1: ranks are allocated in the steps between",
    )


def _ranked(method: RankedLoraConfig) -> None:
    require(
        method.reference is None or method.cell is not None,
        f"method.reference={method.reference} was not looked up",
        "say method.source=FOLDER_OF_A_FINISHED_RUN, or method.reference=null",
    )
    require(
        method.minimum_rank <= method.components,
        f"method.minimum_rank={method.minimum_rank} with method.components={method.components}",
        "say a smallest rank from 0 to the largest",
    )
    _given_ranks(method)
    _planted_ranks(method)
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


def _planted_ranks(method: RankedLoraConfig) -> None:
    planted = method.allocation in (Allocation.oracle, Allocation.reversed)
    require(
        planted == isinstance(method, PlantedRanksConfig),
        f"method.allocation={method.allocation.name} with method={method.name}",
        "say method=oracle or method=reversed for the ranks of a recovery task, another allocation for others",
    )
    require(
        not planted or (method.total is None and not method.ranks and method.cell is None),
        f"method={method.name} has its ranks from the task",
        "leave out method.total, method.source and method.ranks",
    )


def _autolora(method: AutoLoraConfig) -> None:
    validate_search(method.search)
    decides = "the search decides the ranks, up to method.search.components and by method.search.rule"
    _reference_rank(method, False, f"leave it out: {decides}")


def _allocator(method: AllocatorConfig) -> None:
    validate_allocator(method)
    _reference_rank(method, False, "leave it out: method.mean_rank or method.total is the budget")


def _reference_rank(
    method: RankedLoraConfig | AutoLoraConfig | AllocatorConfig, is_mean: bool, mend: str
) -> None:
    """Raises UserError where `rank` is not the default and decides nothing.

    It counts for a run's identity all the same: a sweep over it would run the same numbers again. It decides constant
    scaling, and the layers' ranks where it `is_mean` of them.
    """
    require(
        is_mean or method.scaling is Scaling.constant or method.rank == type(method)().rank,
        f"method.rank={method.rank} has no effect with method.scaling={method.scaling.name}",
        mend,
    )


CHECKS: dict[type[MethodConfig], Callable[[Any], None]] = {
    AdaLoraConfig: _adalora,
    RankedLoraConfig: _ranked,
    AutoLoraConfig: _autolora,
    AllocatorConfig: _allocator,
}
