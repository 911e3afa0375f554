"""The methods that can be compared, each with its settings."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from autolora_bench.config.data import LABEL


@dataclass
class MethodConfig:
    """What every method has."""

    name: str = MISSING
    title: str = field(default=MISSING, metadata=LABEL)
    learning_rate: float = MISSING
    """Peak learning rate of the training that makes the final weights."""


@dataclass
class FullConfig(MethodConfig):
    """Every weight is trained."""


class Scaling(Enum):
    """How strongly a LoRA layer of rank r counts."""

    alpha_over_rank = "lora_alpha / r: rank and scale are confounded when ranks differ"
    constant = "lora_alpha / rank for every layer, whatever its own rank"


@dataclass
class LoraConfig(MethodConfig):
    """LoRA (Hu et al., 2021) of one rank on every target layer."""

    rank: int = 4
    alpha: float = 16.0
    dropout: float = 0.1


class Estimator(Enum):
    """Estimators of the hypergradient; search.hypergradient says what each computes."""

    first_order = "the direct term"
    closed_form = "direct term and implicit term by identity I2"
    unrolled = "differentiates through the optimizer step"
    forward_difference = "one perturbed pass"
    central_difference = "two perturbed passes"
    released = "what the authors' code computes"


class Constraint(Enum):
    """Map from selection variables beta to selection weights alpha."""

    softmax = "non-negative, sum one in each layer"
    sigmoid = "each between 0 and 1"
    unconstrained = "beta itself"


class Rule(Enum):
    """Which components of a layer are kept."""

    reciprocal = "alpha >= 1 / k"
    mean = "beta >= the layer's mean"
    half = "alpha >= 0.5"
    threshold = "alpha >= search.threshold"
    budget = "the search.budget components with the largest alpha over all layers"


@dataclass
class SearchConfig:
    """AutoLoRA's rank search (Zhang et al., 2024, section 3)."""

    components: int = 8
    """k: rank-1 components per layer."""
    estimator: Estimator = Estimator.closed_form
    constraint: Constraint = Constraint.softmax
    rule: Rule = Rule.reciprocal
    threshold: float | None = None
    budget: int | None = None
    """Total rank over all layers, for rule=budget."""
    minimum_rank: int = 1
    """Fewest components a layer keeps, for rule=budget; 0 lets it drop layers."""
    epochs: float = MISSING
    max_steps: int | None = None
    batch_size: int = 16
    validation_batch_size: int | None = None
    """None means batch_size."""
    learning_rate: float = 1e-4
    selection_learning_rate: float = 1e-3
    selection_betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    interval: int = 1
    """The selection variables move at every n-th optimizer step."""
    weight_decay: float = 0.01
    warmup: float = 0.0
    alpha: float = 16.0
    """lora_alpha in the search: every component is scaled alpha / components x its selection weight."""
    dropout: float = 0.0
    train_share: float = 0.5
    """Share of the training set that trains weights; the rest trains the selection variables."""
    initial: float = 1.0
    """First value of every selection variable."""
    initialisation_seed: int | None = None
    """Seed of LoRA's and the head's first values; none means the run's seed. One value for several seeds
    gives components an identity across them, so that stability can be measured component by component."""
    diagnose_steps: list[int] = field(default_factory=lambda: [1, 10, 50, 200])
    """Optimizer steps at which the estimator is compared with `unrolled`."""


@dataclass
class AutoLoraConfig(MethodConfig):
    """AutoLoRA: search, threshold, retrain a plain LoRA with the ranks that were found."""

    search: SearchConfig = field(default_factory=SearchConfig)
    rank: int = 4
    """Reference rank of constant scaling."""
    alpha: float = 16.0
    dropout: float = 0.1
    scaling: Scaling = Scaling.alpha_over_rank
