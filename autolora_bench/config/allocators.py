"""Allocators of ranks: each finds a rank for every layer within one budget, and LoRA is then trained with them."""

import math
from dataclasses import dataclass, field, replace

from omegaconf import MISSING

from autolora_bench.config.identity import ADDED
from autolora_bench.config.method import MethodConfig, Scaling, check_reference_rank
from autolora_bench.config.ranges import Amount, Between, LayerRank, Positive, Rank, Share, Size, Steps
from autolora_bench.config.registry import method
from autolora_bench.config.steps import training_steps
from autolora_bench.config.train import TrainConfig
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
    """Smallest rank of a layer; 0 lets a layer go without, but not in l1ra and increlora."""
    maximum_rank: Rank = 8
    """Largest rank of a layer; an allocator that trains components trains so many in every layer."""
    rank: Rank = 4
    """Reference rank of constant scaling; the ranks themselves are the allocator's."""
    alpha: Positive = 16.0
    """lora_alpha of the final LoRA, and of a LoRA that finds ranks: `scaling` says how it becomes a layer's factor."""
    dropout: Share = 0.1
    """Share of a LoRA's inputs that dropout sets to zero, in the final training and where ranks are found by a LoRA."""
    scaling: Scaling = Scaling.alpha_over_rank
    variant: VariantConfig = field(default_factory=VariantConfig, metadata=ADDED)
    """Of the final LoRA."""

    def final_training(self, train: TrainConfig, rows: int) -> TrainConfig:
        """How the LoRA with the found ranks is trained, in a run that says `train`, on `rows` examples."""
        return train

    def seen(self, train: TrainConfig, rows: int) -> int | None:
        """Examples of the stream that the final training goes on with, which the search has trained on; None where it
        begins by itself."""
        return None

    def check(self) -> None:
        """There is one budget, which the bounds allow."""
        require(
            self.total is None or self.mean_rank == AllocatorConfig.mean_rank,
            f"method.total={self.total} and method.mean_rank={self.mean_rank:g}, which both give the budget",
            "say one of them",
        )
        require(
            self.minimum_rank <= self.maximum_rank,
            f"method.minimum_rank={self.minimum_rank} with method.maximum_rank={self.maximum_rank}",
            "say a smallest rank from 0 to the largest",
        )
        mean = self.mean_rank if self.total is None else None
        require(
            mean is None or self.minimum_rank <= mean <= self.maximum_rank,
            f"method.mean_rank={self.mean_rank:g} is not between method.minimum_rank={self.minimum_rank} and "
            f"method.maximum_rank={self.maximum_rank}",
            "say a mean rank between the two",
        )
        require(
            mean is None or self.minimum_rank == self.maximum_rank or mean < self.maximum_rank,
            f"method.mean_rank={self.mean_rank:g} with method.maximum_rank={self.maximum_rank}, which gives every "
            "layer that rank: there is nothing to choose",
            f"say method.maximum_rank={2 * self.maximum_rank}, or a smaller mean rank",
        )
        check_reference_rank(self, "leave it out: method.mean_rank or method.total is the budget")


@dataclass
class TrainedAllocatorConfig(AllocatorConfig):
    """An allocator that reads the ranks off a training of its own, on all training data.

    What is not said here is the run's: batch size, schedule, weight decay. Every component is scaled
    alpha / maximum_rank in it.
    """

    search_epochs: Positive = MISSING
    """Length of the allocator's own training."""
    search_max_steps: Steps | None = None
    """Its length in optimizer steps, whatever `search_epochs` says; train.max_steps sets it too."""
    search_learning_rate: Positive | None = None
    """Peak learning rate of the allocator's own training; none takes `learning_rate`."""

    def search_training(self, train: TrainConfig, rows: int) -> TrainConfig:
        """How the allocator's own training is done, in a run that says `train`, on `rows` examples."""
        return replace(train, epochs=self.search_epochs, max_steps=self.search_max_steps)


@method("lora_balanced", runs="autolora_bench.methods.allocators.balanced:lora_balanced", family="allocator")
@dataclass
class LoraBalancedConfig(AllocatorConfig):
    """One training that begins with LoRA of `maximum_rank` and goes on with its balanced truncation."""

    share: Between = 0.75
    """Share of the run's optimizer steps before the truncation; the learning rate has its schedule in each part."""
    gathered: Between = 0.1
    """Share of that part's steps, the last ones, in which the Gramians are gathered."""
    search_learning_rate: Positive | None = None
    """Peak learning rate before the truncation; none takes `learning_rate`."""

    def search_training(self, train: TrainConfig, rows: int) -> TrainConfig:
        """The part before the truncation."""
        return replace(train, max_steps=self._first(train, rows))

    def final_training(self, train: TrainConfig, rows: int) -> TrainConfig:
        """The part after it. Raises UserError where no step is left for it."""
        steps = training_steps(train, rows).steps
        left = steps - self._first(train, rows)
        require(
            left > 0,
            f"a training of {steps} steps leaves none after the truncation",
            "train for more steps",
        )
        return replace(train, max_steps=left)

    def seen(self, train: TrainConfig, rows: int) -> int:
        """What the part before has trained on."""
        epochs, steps = divmod(self._first(train, rows), math.ceil(rows / train.batch_size))
        return epochs * rows + steps * train.batch_size

    def _first(self, train: TrainConfig, rows: int) -> int:
        steps = training_steps(train, rows).steps
        return max(1, min(steps - 1, round(self.share * steps)))

    def check(self) -> None:
        """Both parts train a plain LoRA alike."""
        super().check()
        require(
            self.variant == VariantConfig(),
            f"method={self.name} goes on with what it trained, a plain LoRA, and none of method.variant is that",
            "leave method.variant out",
        )
        require(
            self.weight_decay is None,
            f"method.weight_decay={self.weight_decay} would be that of the last part alone",
            "say train.weight_decay, which all parts have",
        )


TRAINED = TrainedAllocatorConfig | LoraBalancedConfig
"""Allocators with a training of their own."""


@method(
    "lora_svd_ranks", runs="autolora_bench.methods.allocators.svd_ranks:lora_svd_ranks", family="allocator"
)
@dataclass
class LoraSvdRanksConfig(TrainedAllocatorConfig):
    """Singular values of a trained LoRA's updates, the largest over all layers."""


@dataclass
class GradientAllocatorConfig(AllocatorConfig):
    """An allocator that reads the ranks off gradients at the start, on a few training batches."""

    batches: Size = MISSING
    """Batches of the run's size."""


@method(
    "lora_gradient_ranks",
    runs="autolora_bench.methods.allocators.gradient_ranks:lora_gradient_ranks",
    family="allocator",
)
@dataclass
class LoraGradientRanksConfig(GradientAllocatorConfig):
    """Singular values of the loss's gradient with respect to the adapted weights, the largest over all layers."""


@method("fim", runs="autolora_bench.methods.allocators.fim:fim", family="allocator")
@dataclass
class FimConfig(GradientAllocatorConfig):
    """FIM-LoRA (Sathyavageeswaran, 2026): ranks in proportion to the mean squared gradient of every layer's B."""


@method("stable_rank", runs="autolora_bench.methods.allocators.stable_rank:stable_ranks", family="allocator")
@dataclass
class StableRankConfig(AllocatorConfig):
    """SR-LoRA (Zhang et al., 2025): ranks in proportion to the stable rank of every layer's pretrained weight."""


@method("gora", runs="autolora_bench.methods.allocators.gora:gora", family="allocator")
@dataclass
class GoraRanksConfig(AllocatorConfig):
    """GoRA (He et al., 2025): ranks in proportion to |weight x gradient|; `variant.gora` says of which gradients."""


@method("sora", runs="autolora_bench.methods.allocators.sora:sora", family="allocator")
@dataclass
class SoraConfig(TrainedAllocatorConfig):
    """SoRA (Ding et al., 2023): gates on components, driven to zero by proximal steps; the largest are kept."""

    l1: Positive = 0.375
    """lambda: a gate is shrunk by its learning rate times this after every optimizer step."""
    gate_learning_rate: Positive | None = None
    """Peak learning rate of the gates; none takes that of the allocator's training."""


@method("l1ra", runs="autolora_bench.methods.allocators.l1ra:l1ra", family="allocator")
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

    def check(self) -> None:
        """Every layer keeps a component, but for a total that is too small for it."""
        super().check()
        require(
            self.minimum_rank > 0 or self.total is not None,
            f"method.minimum_rank=0 with method={self.name}, which prunes no layer's last component",
            "say a smallest rank of 1 or more",
        )


@method("increlora", runs="autolora_bench.methods.allocators.increlora:increlora", family="allocator")
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

    def check(self) -> None:
        """Ranks grow from one, and there are steps to grow in."""
        super().check()
        require(
            self.minimum_rank > 0,
            f"method.minimum_rank=0 with method={self.name}, in which every layer begins with one component",
            "say a smallest rank of 1 or more",
        )
        require(
            self.warmup_share < self.growth_share,
            f"method.warmup_share={self.warmup_share:g} and method.growth_share={self.growth_share:g} leave no steps "
            "to grow in",
            "say a warm-up below the share after which the budget is reached",
        )


@method("dylora", runs="autolora_bench.methods.allocators.dylora:dylora", family="allocator")
@dataclass
class DyLoraConfig(TrainedAllocatorConfig):
    """DyLoRA (Valipour et al., 2023): nested ranks trained together, then cut where the update's energy ends."""

    frozen: bool = True
    """In a step of rank b only the b-th component learns."""
