"""The methods that can be compared, each with its settings."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from omegaconf import MISSING

from autolora_bench.config.architectures import ARCHITECTURES, Is, those
from autolora_bench.config.identity import ADDED, LABEL, LOCATION
from autolora_bench.config.ranges import (
    Amount,
    Between,
    LayerRank,
    Positive,
    Rank,
    Seed,
    Share,
    Size,
    Steps,
    Text,
)
from autolora_bench.config.registry import MethodConfig as MethodConfig  # all others take it from here
from autolora_bench.config.registry import Support, method
from autolora_bench.config.search import SearchConfig
from autolora_bench.config.task import ClassificationTask, RecoveryTask, RegressionTask, TaggingTask
from autolora_bench.config.validate_search import validate_search
from autolora_bench.config.variant import VariantConfig
from autolora_bench.errors import require

BOTH_HALVES = Support(encoder_decoders=True)
"""Of methods that work on everything, encoder-decoders among it."""


@method("full", runs="autolora_bench.methods.full:Full", family="full", works_on=BOTH_HALVES)
@dataclass
class FullConfig(MethodConfig):
    """Every weight is trained."""


class Scaling(StrEnum):
    """How strongly a layer's update counts after ranks were chosen.

    alpha_over_rank: lora_alpha / rank, as LoRA and the released code have it: with lora_alpha 16, rank 1 is scaled 16
        and rank 8 is scaled 2, so rank and scale are confounded.
    constant: the same factor for every layer, lora_alpha / the method's own `rank`.
    """

    alpha_over_rank = "alpha_over_rank"
    constant = "constant"


@method(
    "lora",
    runs="autolora_bench.methods.lora:Lora",
    family="lora",
    variants="variant",
    works_on=BOTH_HALVES,
)
@dataclass
class LoraConfig(MethodConfig):
    """LoRA (Hu et al., 2021) of one rank on every target layer."""

    rank: Rank = 4
    """Of every target layer."""
    alpha: Positive = 16.0
    """lora_alpha: the update is scaled alpha / rank."""
    dropout: Share = 0.1
    """Share of the adapted layers' inputs that dropout sets to zero for the LoRA."""
    variant: VariantConfig = field(default_factory=VariantConfig, metadata=ADDED)


class Placement(Enum):
    """Where a block's adapters sit and what they read."""

    houlsby = "two: after attention and after the feed-forward layers, each before its residual sum"
    pfeiffer = "one: after the feed-forward layers, reading their normalised residual sum"
    lin = "one: after the whole block, behind a layer norm of its own"


class Activation(Enum):
    """Nonlinearity between an adapter's two projections."""

    gelu = "GELU"
    relu = "ReLU"


@method(
    "adapter",
    runs="autolora_bench.methods.adapter:Adapter",
    family="adapter",
    works_on=Support(
        architectures=tuple(name for name, one in ARCHITECTURES.items() if one.sublayers),
        reason="where its blocks take adapters is not known",
    ),
)
@dataclass
class AdapterConfig(MethodConfig):
    """Bottleneck adapters: hidden size -> bottleneck -> hidden size, added to what they read."""

    placement: Placement = MISSING
    bottleneck: Size = MISSING
    """Units between the two projections."""
    activation: Activation = MISSING
    layer_norms: bool = False
    """Also train the pretrained model's own layer norms."""
    drop: Share = 0.0
    """Share of the blocks, from the input on, that get no adapter (AdapterDrop)."""
    initial_std: Positive = 1e-3
    """Of both projections' first weights, cut at two standard deviations; biases start at zero."""


@method("monarch", runs="autolora_bench.methods.monarch:Monarch", family="variant")
@dataclass
class MonarchConfig(MethodConfig):
    """A Monarch matrix is added to every target layer's weight: two block-diagonal factors with fixed permutations."""

    blocks: Size = 4
    """Of each factor; a divisor of every target layer's inputs and outputs."""
    block_rank: Rank = 1
    """Of each of the blocks x blocks submatrices. The update has the weights of a LoRA of rank blocks x block_rank, and
    a rank of up to blocks^2 x block_rank."""
    scale: Positive = 1.0
    """Factor of the update."""
    dropout: Share = 0.1
    """Share of the target layers' inputs that dropout sets to zero for the update."""


@method(
    "bitfit",
    runs="autolora_bench.methods.bitfit:BitFit",
    family="bitfit",
    works_on=Support(never_on=those(Is.unbiased), reason="it has no bias terms"),
)
@dataclass
class BitFitConfig(MethodConfig):
    """Every bias term is trained, and no other weight of the pretrained model (Ben Zaken et al., 2022)."""


@method("adalora", runs="autolora_bench.methods.adalora:AdaLora", family="adalora", works_on=BOTH_HALVES)
@dataclass
class AdaLoraConfig(MethodConfig):
    """AdaLoRA (Zhang et al., 2023): triplets of a singular value decomposition, pruned by importance."""

    target_rank: Rank = 4
    """Mean rank over the layers at the end: the budget is target_rank x layers."""
    initial_rank: Rank = 6
    """Rank of every layer at the beginning."""
    initial_share: Share = 0.1
    """Share of the optimizer steps before any triplet is pruned (t_i)."""
    final_share: Share = 0.5
    """Share of the optimizer steps, at the end, with the final ranks (t_f)."""
    interval: Steps = 1
    """Optimizer steps between two allocations (Delta T)."""
    sensitivity_beta: Between = 0.85
    """Of the moving average of importances (beta_1)."""
    uncertainty_beta: Between = 0.85
    """Of the moving average of their uncertainty (beta_2)."""
    orthogonality: Amount = 0.1
    """Weight of the penalty that keeps the singular vectors orthogonal (gamma)."""
    alpha: Positive = 16.0
    """The update is scaled alpha / initial_rank throughout."""
    dropout: Share = 0.1
    """Share of the adapted layers' inputs that dropout sets to zero for the triplets."""

    def check(self) -> None:
        """There are triplets to prune, and steps to prune them in."""
        require(
            self.initial_rank > self.target_rank,
            f"method.initial_rank={self.initial_rank} leaves nothing to prune to target_rank={self.target_rank}",
            "say an initial rank above the target rank (the authors take half as much again)",
        )
        require(
            self.initial_share + self.final_share < 1,
            f"method.initial_share={self.initial_share} and final_share={self.final_share} leave no steps between them",
            "say shares whose sum is below 1: ranks are allocated in the steps between",
        )


class Allocation(Enum):
    """How ranks are distributed that are not learnt in the run itself."""

    uniform = "as evenly as the total allows, the larger ranks spread over the depth"
    random = "drawn from the ranks of `source`, with their total and spread; without any, a total drawn from components"
    shuffled = "the ranks of `source`, permuted over the layers"
    given = "the ranks of `source`"
    oracle = "the ranks that the task planted"
    reversed = "the planted ranks with their order over the layers turned round"


@method(
    "ranked_lora", runs="autolora_bench.methods.ranked:RankedLora", family="control", works_on=BOTH_HALVES
)
@dataclass
class RankedLoraConfig(MethodConfig):
    """LoRA with a rank per layer that is not learnt in this run: controls, and others' ranks."""

    allocation: Allocation = MISSING
    total: Steps | None = None
    """Total rank over all layers (uniform, random); none takes that of `source`, or else rank x layers."""
    reference: Text | None = field(default=None, metadata=LOCATION)
    """The method that this one is compared with, where `source`, `ranks` and `total` are left out: `source` is then its
    run of the same task, model, settings and seed, below the same results folder (config.ranks)."""
    source: Text | None = field(default=None, metadata=LOCATION)
    """Whose ranks, or whose total: a finished run's folder or run.json; the folder that holds its seeds, for each
    seed its own; or a CSV or JSON file with layer, projection, rank and perhaps task. May be a pattern (`*`)."""
    source_task: str | None = field(default=None, metadata=LOCATION)
    """Which task's rows of a file count; none means the run's own task."""
    ranks: dict[str, LayerRank] = field(default_factory=dict)
    """`block.projection` -> rank. Filled in from `source`, so that the ranks are part of what a run is."""
    cell: str | None = None
    """task/model/method-id of the runs that give each seed its own ranks. Filled in from `source` or `reference`."""
    origin: str | None = field(default=None, metadata=LABEL)
    """What the record says of `source`. Filled in."""
    allocation_seed: Seed | None = None
    """Seed of random and shuffled, beside the task; none means the run's own."""
    components: Rank = 8
    """Largest rank of a layer, where random draws a total; refused elsewhere."""
    minimum_rank: LayerRank = 1
    """Smallest rank of a layer, where random draws a total; refused elsewhere."""
    rank: Rank = 4
    """Reference rank of constant scaling, and the mean rank where neither total nor source is given."""
    alpha: Positive = 16.0
    """lora_alpha of the final LoRA: `scaling` says how it becomes a layer's factor."""
    dropout: Share = 0.1
    """Share of a LoRA's inputs that dropout sets to zero in the final training."""
    scaling: Scaling = Scaling.alpha_over_rank
    variant: VariantConfig = field(default_factory=VariantConfig, metadata=ADDED)

    def check(self) -> None:
        """The ranks come from one place, which the allocation can use."""
        require(
            self.reference is None or self.cell is not None,
            f"method.reference={self.reference} was not looked up",
            "say method.source=FOLDER_OF_A_FINISHED_RUN, or method.reference=null",
        )
        require(
            self.minimum_rank <= self.components,
            f"method.minimum_rank={self.minimum_rank} with method.components={self.components}",
            "say a smallest rank from 0 to the largest",
        )
        self._check_given()
        self._check_planted()
        self._check_drawn()
        given = bool(self.ranks) or self.total is not None or self.cell is not None
        if given:
            check_reference_rank(self, "leave it out: total, source or ranks decide the ranks")

    def _check_given(self) -> None:
        name = self.allocation.name
        copies = self.allocation in (Allocation.shuffled, Allocation.given)
        require(
            not copies or self.cell is not None or bool(self.ranks),
            f"method.allocation={name} needs ranks",
            "say method.source=FOLDER_OF_A_FINISHED_RUN, or a CSV or JSON file with layer, projection and rank",
        )
        require(
            not copies or self.total is None,
            f"method.total={self.total} with method.allocation={name}, which has its total from its ranks",
            "leave method.total out",
        )
        require(
            self.total is None or (self.cell is None and not self.ranks),
            f"method.total={self.total} and method.{'source' if self.source else 'ranks'}, which gives the total",
            "say one of them",
        )

    def _check_drawn(self) -> None:
        """What says how ranks are drawn is refused where none are."""
        drawn = self.allocation in (Allocation.random, Allocation.shuffled)
        require(
            drawn or self.allocation_seed is None,
            f"method.allocation_seed={self.allocation_seed} with method={self.name}, which draws no ranks",
            "leave it out",
        )
        of_total = self.allocation is Allocation.random and self.cell is None and not self.ranks
        for name in ("components", "minimum_rank"):
            value, usual = getattr(self, name), getattr(RankedLoraConfig, name)
            require(
                of_total or value == usual,
                f"method.{name}={value} with method={self.name}, which draws no total of components here",
                "leave it out; lora_random_ranks with method.total=N, or method.reference=null, draws one",
            )

    def _check_planted(self) -> None:
        planted = self.allocation in (Allocation.oracle, Allocation.reversed)
        require(
            planted == isinstance(self, PlantedRanksConfig),
            f"method.allocation={self.allocation.name} with method={self.name}",
            "say method=oracle or method=reversed for the ranks of a recovery task, another allocation for others",
        )
        require(
            not planted or (self.total is None and not self.ranks and self.cell is None),
            f"method={self.name} has its ranks from the task",
            "leave out method.total, method.source and method.ranks",
        )


@method(
    "head_only",
    runs="autolora_bench.methods.head_only:HeadOnly",
    family="head_only",
    works_on=Support(
        (ClassificationTask, RegressionTask, TaggingTask),
        reason="a language model gets no new head",
        no_recovery="hidden states are compared, and they have no head",
    ),
)
@dataclass
class HeadOnlyConfig(MethodConfig):
    """Nothing but the task's head is trained: what every other method has to beat."""


@method(
    "planted_ranks",
    runs="autolora_bench.methods.ranked:RankedLora",
    family="control",
    works_on=Support((RecoveryTask,), reason="only a planted truth is known"),
)
@dataclass
class PlantedRanksConfig(RankedLoraConfig):
    """LoRA with the true ranks of a recovery task, or with those in reverse: the best and the worst of its controls."""


@method("autolora", runs="autolora_bench.methods.autolora:AutoLora", family="autolora", works_on=BOTH_HALVES)
@dataclass
class AutoLoraConfig(MethodConfig):
    """AutoLoRA: search, threshold, retrain a plain LoRA with the ranks that were found."""

    search: SearchConfig = field(default_factory=SearchConfig)
    rank: Rank = 4
    """Reference rank of constant scaling; the ranks themselves are the search's."""
    alpha: Positive = 16.0
    """lora_alpha of the final LoRA: `scaling` says how it becomes a layer's factor."""
    dropout: Share = 0.1
    """Share of a LoRA's inputs that dropout sets to zero in the final training."""
    scaling: Scaling = Scaling.alpha_over_rank
    variant: VariantConfig = field(default_factory=VariantConfig, metadata=ADDED)

    def check(self) -> None:
        """The search's settings, and what the retraining takes from it."""
        validate_search(self.search)
        decides = "the search decides the ranks, up to method.search.components and by method.search.rule"
        check_reference_rank(self, f"leave it out: {decides}")


def check_reference_rank(settings: Any, mend: str) -> None:
    """Raises UserError where `rank` is not the default and decides nothing, as the layers' ranks come from elsewhere.

    It counts for a run's identity all the same: a sweep over it would run the same numbers again. It decides constant
    scaling.
    """
    require(
        settings.scaling is Scaling.constant or settings.rank == type(settings)().rank,
        f"method.rank={settings.rank} has no effect with method.scaling={settings.scaling.name}",
        mend,
    )
