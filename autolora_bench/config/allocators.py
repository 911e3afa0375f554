"""Allocators of ranks: each finds a rank for every layer within one budget, and LoRA is then trained with them."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from autolora_bench.config.data import ADDED
from autolora_bench.config.method import MethodConfig, Scaling
from autolora_bench.config.ranges import Amount, Between, LayerRank, Positive, Rank, Share, Size, Steps
from autolora_bench.config.variant import VariantConfig
from autolora_bench.errors import require


@dataclass
class AllocatorConfig(MethodConfig):
    """What every allocator has: the budget, and the LoRA that is trained from scratch with the ranks it found."""

    mean_rank: Positive = 4.0
    """The budget: the ranks' sum is mean_rank x layers, as LoRA of rank 4 has it."""
    total: Steps | None = None
    """The same budget as a sum over all layers, in place of `mean_rank`."""
    minimum_rank: LayerRank = 0
    """Smallest rank of a layer; 0 lets a layer go without."""
    maximum_rank: Rank = 8
    """Largest rank of a layer; an allocator that trains components trains so many in every layer."""
    rank: Rank = 4
    """Reference rank of constant scaling; the ranks themselves are the allocator's."""
    alpha: Positive = 16.0
    """lora_alpha of the final LoRA: `scaling` says how it becomes a layer's factor."""
    dropout: Share = 0.1
    """Share of a LoRA's inputs that dropout sets to zero in the final training."""
    scaling: Scaling = Scaling.alpha_over_rank
    variant: VariantConfig = field(default_factory=VariantConfig, metadata=ADDED)
    """Of the final LoRA."""


@dataclass
class TrainedAllocatorConfig(AllocatorConfig):
    """An allocator that reads the ranks off a training of its own, on all training data.

    What is not said here is the run's: batch size, schedule, weight decay. Every component is scaled
    alpha / maximum_rank in it.
    """

    search_epochs: Positive = MISSING
    """Length of the allocator's own training."""
    search_max_steps: Steps | None = None
    """Ends it after so many optimizer steps."""
    search_learning_rate: Positive | None = None
    """Peak learning rate of the allocator's own training; none takes `learning_rate`."""


@dataclass
class LoraSvdRanksConfig(TrainedAllocatorConfig):
    """Singular values of a trained LoRA's updates, the largest over all layers."""


@dataclass
class GradientAllocatorConfig(AllocatorConfig):
    """An allocator that reads the ranks off gradients at the start, on a few training batches."""

    batches: Size = MISSING
    """Batches of the run's size."""


@dataclass
class LoraGradientRanksConfig(GradientAllocatorConfig):
    """Singular values of the loss's gradient with respect to the adapted weights, the largest over all layers."""


@dataclass
class FimConfig(GradientAllocatorConfig):
    """FIM-LoRA (Sathyavageeswaran, 2026): ranks in proportion to the mean squared gradient of every layer's B."""


@dataclass
class StableRankConfig(AllocatorConfig):
    """SR-LoRA (Zhang et al., 2025): ranks in proportion to the stable rank of every layer's pretrained weight."""


@dataclass
class GoraRanksConfig(AllocatorConfig):
    """GoRA (He et al., 2025): ranks in proportion to |weight x gradient|; `variant.gora` says of which gradients."""


@dataclass
class SoraConfig(TrainedAllocatorConfig):
    """SoRA (Ding et al., 2023): gates on components, driven to zero by proximal steps; the largest are kept."""

    l1: Positive = 0.375
    """lambda: a gate is shrunk by its learning rate times this after every optimizer step."""
    gate_learning_rate: Positive | None = None
    """Peak learning rate of the gates; none takes that of the allocator's training."""


@dataclass
class L1raConfig(TrainedAllocatorConfig):
    """L1RA (Singh et al., 2025): gates with an L1 decay; pruned ranks are given to other layers."""

    l1: Positive = 1e-3
    """A gate is lowered by its learning rate times this after every optimizer step."""
    gate_learning_rate: Positive = 2e-2
    """Of the gates, constant."""
    interval_share: Between = 0.1
    """Share of the optimizer steps between two prunings."""
    prune_below: Positive = 1e-10
    """Components with smaller gates are pruned."""


@dataclass
class IncreLoraConfig(TrainedAllocatorConfig):
    """IncreLoRA (Zhang et al., 2023): ranks grow where the weights matter most."""

    layers_per_round: Size = 3
    """Layers whose rank grows by one at a time."""
    warmup_share: Share = 0.02
    """Share of the optimizer steps before the first growth."""
    growth_share: Share = 0.4
    """Share of the optimizer steps after which the budget is reached."""
    sensitivity_beta: Share = 0.85
    """Of the moving average of importances."""
    uncertainty_beta: Share = 0.85
    """Of the moving average of their uncertainty."""
    orthogonality: Amount = 0.1
    """Weight of the penalty that keeps A's rows and B's columns orthogonal."""


@dataclass
class DyLoraConfig(TrainedAllocatorConfig):
    """DyLoRA (Valipour et al., 2023): nested ranks trained together, then cut where the update's energy ends."""

    frozen: bool = True
    """In a step of rank b only the b-th component learns."""


ALLOCATORS: dict[str, type[AllocatorConfig]] = {
    "lora_svd_ranks": LoraSvdRanksConfig,
    "lora_gradient_ranks": LoraGradientRanksConfig,
    "fim": FimConfig,
    "stable_rank": StableRankConfig,
    "gora": GoraRanksConfig,
    "sora": SoraConfig,
    "l1ra": L1raConfig,
    "increlora": IncreLoraConfig,
    "dylora": DyLoraConfig,
}
"""Schema -> settings."""


def validate_allocator(method: AllocatorConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    require(
        method.total is None or method.mean_rank == AllocatorConfig.mean_rank,
        f"method.total={method.total} and method.mean_rank={method.mean_rank:g}, which both give the budget",
        "say one of them",
    )
    require(
        method.minimum_rank <= method.maximum_rank,
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
    if isinstance(method, IncreLoraConfig):
        require(
            method.warmup_share < method.growth_share,
            f"method.warmup_share={method.warmup_share:g} and method.growth_share={method.growth_share:g} leave no "
            "steps to grow in",
            "say a warm-up below the share after which the budget is reached",
        )
