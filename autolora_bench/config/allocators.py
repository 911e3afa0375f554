"""Allocators of ranks: each finds a rank for every layer within one budget, and LoRA is then trained with them."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from autolora_bench.config.bounds import at_least, positive, require
from autolora_bench.config.data import ADDED
from autolora_bench.config.method import MethodConfig, Scaling
from autolora_bench.config.variant import VariantConfig


@dataclass
class AllocatorConfig(MethodConfig):
    """What every allocator has: the budget, and the LoRA that is trained from scratch with the ranks it found."""

    mean_rank: float = 4.0
    """The budget: the ranks' sum is mean_rank x layers, as LoRA of rank 4 has it."""
    total: int | None = None
    """The same budget as a sum over all layers, in place of `mean_rank`."""
    minimum_rank: int = 0
    """Smallest rank of a layer; 0 lets a layer go without."""
    maximum_rank: int = 8
    """Largest rank of a layer; an allocator that trains components trains so many in every layer."""
    rank: int = 4
    """Reference rank of constant scaling; the ranks themselves are the allocator's."""
    alpha: float = 16.0
    dropout: float = 0.1
    scaling: Scaling = Scaling.alpha_over_rank
    variant: VariantConfig = field(default_factory=VariantConfig, metadata=ADDED)
    """Of the final LoRA."""


@dataclass
class TrainedAllocatorConfig(AllocatorConfig):
    """An allocator that reads the ranks off a training of its own, on all training data.

    What is not said here is the run's: batch size, schedule, weight decay. Every component is scaled
    alpha / maximum_rank in it.
    """

    search_epochs: float = MISSING
    search_max_steps: int | None = None
    search_learning_rate: float | None = None
    """Peak learning rate of the allocator's own training; none takes `learning_rate`."""


@dataclass
class LoraSvdRanksConfig(TrainedAllocatorConfig):
    """Singular values of a trained LoRA's updates, the largest over all layers."""


ALLOCATORS: dict[str, type[AllocatorConfig]] = {
    "lora_svd_ranks": LoraSvdRanksConfig,
}
"""Schema -> settings."""


def validate_allocator(method: AllocatorConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    positive(method, "mean_rank")
    at_least(method, "total", 1)
    require(
        method.total is None or method.mean_rank == AllocatorConfig.mean_rank,
        f"method.total={method.total} and method.mean_rank={method.mean_rank:g}, which both give the budget",
        "say one of them",
    )
    at_least(method, "maximum_rank", 1)
    require(
        0 <= method.minimum_rank <= method.maximum_rank,
        f"method.minimum_rank={method.minimum_rank} with method.maximum_rank={method.maximum_rank}",
        "say a smallest rank from 0 to the largest",
    )
    mean = method.mean_rank if method.total is None else None
    require(
        mean is None or method.minimum_rank <= mean <= method.maximum_rank,
        f"method.mean_rank={method.mean_rank:g} is not between method.minimum_rank={method.minimum_rank} and "
        f"method.maximum_rank={method.maximum_rank}",
        "say a mean rank between the two",
    )
    if isinstance(method, TrainedAllocatorConfig):
        positive(method, "search_epochs")
        at_least(method, "search_max_steps", 1)
        positive(method, "search_learning_rate")
