"""AutoLoRA's rank search: its settings (Zhang et al., 2024, section 3)."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Annotated

from annotated_types import MaxLen, MinLen
from omegaconf import MISSING

from autolora_bench.config.identity import ADDED
from autolora_bench.config.ranges import (
    Amount,
    Between,
    LayerRank,
    Number,
    Positive,
    Rank,
    Seed,
    Share,
    Size,
    Steps,
)
from autolora_bench.config.train import Schedule

Betas = Annotated[list[Share], MinLen(2), MaxLen(2)]
FLAT_NEAR = 0.5
"""A search is flat if at least this share of its components is near the threshold: their ranks hang by a hair,"""
FLAT_EFFECTIVE = 0.99
"""or if its effective share is at least this. Weights that deviate by a share c of their mean (root mean square) have
an effective share of about 1 - c^2 / 2: 0.99 is c = 14 %."""


def is_flat(near_threshold: float, effective_share: float) -> bool:
    """Whether selection weights are nearly equal, or most of them near the threshold: the ranks say next to nothing.

    Args:
        near_threshold: share of the components within 1 % of the threshold.
        effective_share: exp of the entropy of all LK weights as shares of their sum, over LK.
    """
    return near_threshold >= FLAT_NEAR or effective_share >= FLAT_EFFECTIVE


class Estimator(Enum):
    """Estimators of the hypergradient; search.hypergradient says what each computes."""

    first_order = "the direct term"
    closed_form = "direct term and implicit term by identity I2"
    unrolled = "differentiates through the optimizer step"
    forward_difference = "one perturbed pass"
    central_difference = "two perturbed passes"
    released = "what the authors' code computes"
    reptile = (
        "the mean training gradient along the inner steps (Nichol et al., 2018); reads no validation batch"
    )


SEVERAL_STEPS = (Estimator.first_order, Estimator.closed_form, Estimator.unrolled, Estimator.reptile)
"""Estimators that know the way back through more than one inner step."""


class Constraint(StrEnum):
    """Map from selection variables beta to selection weights alpha: the paper's softmax, its ablations, or ours.

    softmax: non-negative, sum one in each layer.
    sigmoid: each between 0 and 1.
    unconstrained: beta itself.
    topk: each between 0 and 1, their sum a budget, for every layer or over all (`Scope`); Amos et al., 2019.
    """

    softmax = "softmax"
    sigmoid = "sigmoid"
    unconstrained = "unconstrained"
    topk = "topk"


class Scope(Enum):
    """What the budget of constraint=topk is shared by."""

    layer = "the components of one layer; every layer has the same budget"
    model = "the components of all layers"


class SelectionOptimizer(Enum):
    """How the selection variables move."""

    adamw = "as the weights, along the gradient with respect to beta"
    mirror_descent = (
        "beta along the gradient with respect to alpha: under softmax alpha x exp(-rate x gradient) / sum"
    )


DIAGNOSE_STEPS = [1, 10, 50, 200]


class Rule(StrEnum):
    """Which components of a layer are kept.

    reciprocal: alpha >= 1/K, the paper's rule under softmax; a layer's best component always passes.
    mean: beta >= the mean of its layer: the released code on GLUE, and the paper's unconstrained ablation.
    half: alpha >= 1/2, the paper's sigmoid ablation; a layer may keep nothing.
    threshold: alpha >= a given number.
    budget: the highest alphas of all layers together, as many as the budget.
    """

    reciprocal = "reciprocal"
    mean = "mean"
    half = "half"
    threshold = "threshold"
    budget = "budget"

    @property
    def reads_beta(self) -> bool:
        """True where the rule is about the raw variables beta, not about alpha."""
        return self is Rule.mean


def level_of(rule: Rule, components: int, threshold: float | None) -> float:
    """The alpha from which on a component is kept, by the rules that have one level for all layers.

    Args:
        rule: reciprocal, half or threshold.
        components: K, of each layer.
        threshold: for `Rule.threshold` only.

    Raises:
        ValueError: a rule without such a level.
    """
    match rule:
        case Rule.reciprocal:
            return 1 / components
        case Rule.half:
            return 0.5
        case Rule.threshold if threshold is not None:
            return threshold
    raise ValueError(f"rule={rule.name} has no one level")


@dataclass
class SearchConfig:
    """AutoLoRA's rank search (Zhang et al., 2024, section 3)."""

    components: Rank = 8
    """k: rank-1 components per layer."""
    estimator: Estimator = Estimator.closed_form
    constraint: Constraint = Constraint.softmax
    rule: Rule = Rule.reciprocal
    threshold: Number | None = None
    """For rule=threshold: what alpha is compared with."""
    budget: Steps | None = None
    """Total rank over all layers, for rule=budget and constraint=topk; or say `mean_rank`."""
    minimum_rank: LayerRank = 1
    """Fewest components a layer keeps, for rule=budget; 0 lets it drop layers, which a softmax hardly
    ever does: the largest of a layer's weights stays at 1/k or above."""
    mean_rank: Positive | None = None
    """The same budget as a mean over the layers, for any number of them."""
    scope: Scope = field(default=Scope.model, metadata=ADDED)
    """For constraint=topk."""
    epochs: Positive = MISSING
    """Length of the search, over the weights' share of the data."""
    max_steps: Steps | None = None
    """Length of the search in optimizer steps, whatever `epochs` says; train.max_steps sets it too."""
    batch_size: Size = 16
    """Examples of the weights' half per optimizer step."""
    validation_batch_size: Size | None = None
    """In each process. None means that of a micro-batch: batch_size / train.accumulation / processes, so that
    train.accumulation is part of what is searched where this is left out."""
    group_by_length: bool = field(default=False, metadata=ADDED)
    """Validation batches of similar lengths, as train.group_by_length makes training batches."""
    learning_rate: Positive = 1e-4
    """Peak learning rate of LoRA and head in the search."""
    selection_learning_rate: Positive = 1e-3
    """Learning rate of the selection variables."""
    selection_optimizer: SelectionOptimizer = field(default=SelectionOptimizer.adamw, metadata=ADDED)
    betas: Betas = field(default_factory=lambda: [0.9, 0.999])
    """Of the weights' Adam."""
    selection_betas: Betas = field(default_factory=lambda: [0.9, 0.999])
    """Of the selection variables' Adam."""
    interval: Steps = 1
    """The selection variables move at every n-th optimizer step, and no more often than once in `inner_steps`."""
    inner_steps: Steps = field(default=1, metadata=ADDED)
    """Optimizer steps whose effect on the weights the selection variables see when they move: the hypergradient goes
    back through so many (MAML's inner steps: Finn et al., 2017). For first_order, closed_form, unrolled and
    reptile, which needs two or more."""
    weight_decay: Amount = 0.01
    """Of LoRA and head in the search; the selection variables have none."""
    warmup: Share = 0.0
    """Share of the search's optimizer steps."""
    schedule: Schedule = Schedule.linear
    """Of the weights' learning rate; that of the selection variables is constant."""
    clip: Amount = 1.0
    """Largest gradient norm of the weights; 0 clips nothing."""
    alpha: Positive = 16.0
    """lora_alpha in the search: every component is scaled alpha / components x its selection weight."""
    rslora: bool = field(default=False, metadata=ADDED)
    """Scale by alpha / sqrt(components) in the search, as rsLoRA; method.variant.rslora is about the retraining."""
    dropout: Share = 0.0
    """Share of the adapted layers' inputs that dropout sets to zero for the LoRA in the search."""
    train_share: Between = 0.5
    """Share of the training set that trains weights; the rest trains the selection variables."""
    initial: Number = 1.0
    """First value of every selection variable."""
    initialisation_seed: Seed | None = None
    """Seed of LoRA's and the head's first values; none means the run's seed. One value for several seeds
    gives components an identity across them, so that stability can be measured component by component."""
    diagnose_steps: list[Steps] = field(default_factory=lambda: list(DIAGNOSE_STEPS))
    """Optimizer steps at which the estimator is compared with `unrolled`, each at the cost of about four. Of the
    default ones a search of fewer than 100 steps does the first, of fewer than 200 the first two, and so on."""
