"""LoRA whose learning rates are learnt: their search's settings."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum

from omegaconf import MISSING

from autolora_bench.config.identity import ADDED
from autolora_bench.config.method import LoraConfig
from autolora_bench.config.ranges import Between, Names, Positive, Seed, Size, Steps
from autolora_bench.config.registry import method
from autolora_bench.config.search import Betas
from autolora_bench.config.variant import VariantConfig
from autolora_bench.errors import require


class Granularity(Enum):
    """What has a learning rate of its own."""

    layer = "every adapted layer"
    factor = "A and B of every adapted layer, as LoRA+ has two rates for all layers"
    model = "nothing: one rate for all layers"


class Also(StrEnum):
    """What else can be learnt, one number for all layers."""

    weight_decay = "weight_decay"
    alpha = "alpha"


class RateOrder(Enum):
    """Which layer trains with which of the learnt rates."""

    learnt = "each with its own"
    shuffled = "permuted over the layers, anew for every task and seed: the control"


@dataclass
class RateSearchConfig:
    """The search of the rates: LoRA trained on one half of the training data, its rates moved on the other.

    What is not said here is the run's: weight decay, schedule, warm-up, clipping, and the head's rate, which is not
    learnt.
    """

    granularity: Granularity = Granularity.layer
    also: Names = field(default_factory=list, metadata=ADDED)
    """Learnt beside the rates, one number for all layers: weight_decay, of A and B, and alpha, LoRA's scale. Both start
    where the training has them."""
    inner_steps: Steps = 1
    """Optimizer steps whose effect on the weights the rates see when they move. One step sees the short run alone, and
    tends to lower rates (Wu et al., 2018)."""
    exact: bool = False
    """With several inner steps: go back through the way one step's weights change the next one's gradient, too, which
    takes a backward through the backward pass. With alpha also through the way it changes every step's gradient by more
    than its size. With one step and without alpha there is nothing to leave out."""
    interval: Steps = 1
    """The rates move at every n-th optimizer step, and no more often than once in `inner_steps`."""
    epochs: Positive = MISSING
    """Length of the search, over the weights' share of the data."""
    max_steps: Steps | None = None
    """Length of the search in optimizer steps, whatever `epochs` says; train.max_steps sets it too."""
    batch_size: Size = 16
    """Examples of the weights' half per optimizer step."""
    validation_batch_size: Size | None = None
    """In each process. None means that of a micro-batch: batch_size / train.accumulation / processes, so that
    train.accumulation is part of what is learnt where this is left out."""
    learning_rate: Positive = 0.02
    """Of Adam on the logarithms of the rates: a move changes a rate by 2 % at most, about."""
    betas: Betas = field(default_factory=lambda: [0.9, 0.999])
    """Of that Adam."""
    limit: Positive = 30.0
    """A rate stays within method.learning_rate / limit and method.learning_rate x limit."""
    keep_mean: bool = False
    """Scale the learnt rates for the final training so that their geometric mean is method.learning_rate: only their
    proportions are then learnt."""
    train_share: Between = 0.5
    """Share of the training set that trains weights; the rest trains the rates."""
    initialisation_seed: Seed | None = None
    """Seed of LoRA's and the head's first values in the search; none means the run's seed."""


@method(
    "lora_learned_rates",
    runs="autolora_bench.methods.learned_rates:LearnedRatesLora",
    family="variant",
    variants="control",
)
@dataclass
class LearnedRatesConfig(LoraConfig):
    """LoRA of one rank whose layers train with learning rates that were learnt on held-out training data.

    `learning_rate` is where every rate starts.
    """

    rates: RateSearchConfig = field(default_factory=RateSearchConfig)
    order: RateOrder = RateOrder.learnt

    def check(self) -> None:
        """The rates are the search's, and something is learnt and permuted."""
        c = self.rates
        self._check_also()
        require(
            not c.exact or c.inner_steps > 1 or Also.alpha in c.also,
            f"method.rates.exact=true with method.rates.inner_steps={c.inner_steps}, whose gradient is exact anyway",
            "leave it out, or say inner_steps=2 or more",
        )
        require(
            c.limit > 1,
            f"method.rates.limit={c.limit:g} leaves every rate where it starts",
            "say a number above 1",
        )
        plain = VariantConfig()
        require(
            self.variant.rate_ratio == plain.rate_ratio and not self.variant.lora_pro,
            f"method.variant.rate_ratio={self.variant.rate_ratio:g}, lora_pro={self.variant.lora_pro} with rates "
            "that are learnt",
            "leave them out: method.rates.granularity=factor learns A's and B's rates apart",
        )
        one = c.granularity is Granularity.model
        require(
            not (one and c.keep_mean),
            "method.rates.granularity=model with method.rates.keep_mean=true leaves nothing to learn",
            "leave one of them out",
        )
        require(
            not (one and self.order is RateOrder.shuffled),
            "method.order=shuffled with method.rates.granularity=model: one rate has no order",
            "say granularity=layer or factor",
        )

    def _check_also(self) -> None:
        also, variant, plain = self.rates.also, self.variant, VariantConfig()
        require(
            "dropout" not in also,
            "method.rates.also=[dropout]: its masks are drawn, and a drawn 0 or 1 has no derivative in the share of "
            "zeros, which the loss of one draw does not know",
            "tune it by trials: autolora-bench suite=tune method=lora 'method.dropout=interval(0,0.5)'",
        )
        unknown = next((name for name in also if name not in list(Also)), None)
        require(
            unknown is None,
            f"method.rates.also={list(also)}: {unknown} is not known",
            f"choose among: {', '.join(Also)}",
        )
        require(
            Also.alpha not in also or (not variant.dora and variant.start is plain.start),
            "method.rates.also=[alpha] with DoRA, or with first values that are taken off the pretrained weights: "
            "their scale is not LoRA's",
            "leave one of them out",
        )
