"""The methods that can be compared, each with its settings."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum

from omegaconf import MISSING

from autolora_bench.config.data import ADDED, LABEL, LOCATION
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
from autolora_bench.config.search import SearchConfig
from autolora_bench.config.variant import VariantConfig


@dataclass
class MethodConfig:
    """What every method has."""

    name: str = MISSING
    title: str = field(default=MISSING, metadata=LABEL)
    learning_rate: Positive = MISSING
    """Peak learning rate of the training that makes the final weights."""
    weight_decay: Amount | None = field(default=None, metadata=ADDED)
    """Of what the method trains beside the head, in that training; none takes train.weight_decay, as the head does."""
    corrections: list[str] = field(default_factory=list, metadata=ADDED)
    """Rules by which the same settings now give other numbers than before (config.corrections). Filled in."""


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


@dataclass
class BitFitConfig(MethodConfig):
    """Every bias term is trained, and no other weight of the pretrained model (Ben Zaken et al., 2022)."""


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


class Allocation(Enum):
    """How ranks are distributed that are not learnt in the run itself."""

    uniform = "as evenly as the total allows, the larger ranks spread over the depth"
    random = "drawn from the ranks of `source`, with their total and spread; without any, a total drawn from components"
    shuffled = "the ranks of `source`, permuted over the layers"
    given = "the ranks of `source`"
    oracle = "the ranks that the task planted"
    reversed = "the planted ranks with their order over the layers turned round"


@dataclass
class RankedLoraConfig(MethodConfig):
    """LoRA with a rank per layer that is not learnt in this run: controls, and others' ranks."""

    allocation: Allocation = MISSING
    total: Steps | None = None
    """Total rank over all layers (uniform, random); none takes that of `source`, or else rank x layers."""
    reference: Text | None = field(default=None, metadata=LOCATION)
    """The method that this one is compared with, where `source`, `ranks` and `total` are left out: `source` is then its
    run of the same task, model, settings and seed, below the same results folder (config.reference)."""
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
    """Largest rank of a layer (random, where it draws a total)."""
    minimum_rank: LayerRank = 1
    """Smallest rank of a layer (random, where it draws a total)."""
    rank: Rank = 4
    """Reference rank of constant scaling, and the mean rank where neither total nor source is given."""
    alpha: Positive = 16.0
    """lora_alpha of the final LoRA: `scaling` says how it becomes a layer's factor."""
    dropout: Share = 0.1
    """Share of a LoRA's inputs that dropout sets to zero in the final training."""
    scaling: Scaling = Scaling.alpha_over_rank
    variant: VariantConfig = field(default_factory=VariantConfig, metadata=ADDED)


@dataclass
class HeadOnlyConfig(MethodConfig):
    """Nothing but the task's head is trained: what every other method has to beat."""


@dataclass
class PlantedRanksConfig(RankedLoraConfig):
    """LoRA with the true ranks of a recovery task, or with those in reverse: the best and the worst of its controls."""


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
