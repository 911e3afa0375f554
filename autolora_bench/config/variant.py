"""Variants of LoRA: options of every method that ends in training one, alone or together."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from annotated_types import Interval

from autolora_bench.config.identity import ADDED
from autolora_bench.config.ranges import Between, Positive, Size, Steps


class Start(StrEnum):
    """First values of A and B. Where B does not start at zero, its product with A is taken off the pretrained weight.

    lora: A random, B zero (Hu et al., 2021).
    pissa: the largest singular values and vectors of the weight (PiSSA: Meng et al., 2024).
    olora: the first columns and rows of the weight's QR decomposition (OLoRA: Büyükakyüz, 2024).
    lora_ga: singular vectors of the loss's gradient on a few training examples (LoRA-GA: Wang et al., 2024).
    eva: A's rows are the principal components of the layer's inputs on training batches, B zero (EVA: Paischer et al.,
        2024). With one rank for all layers EVA redistributes the ranks by explained variance; ranks that were learnt
        or given stay.
    corda: the components of the weight that matter most, or least, to the layer's inputs on training examples (CorDA:
        Yang et al., 2024; variant.corda.mode).
    cur: rows and columns of the weight itself, joined by pseudo-inverses (DEIM-CUR: Sorensen and Embree, 2016; as a
        start ours).
    gora: A random, B such that their product is a step down the gradient, as far as A's rows reach (GoRA: He et al.,
        2025). The pretrained weight stays, so the output starts changed.
    """

    lora = "lora"
    pissa = "pissa"
    olora = "olora"
    lora_ga = "lora_ga"
    eva = "eva"
    corda = "corda"
    cur = "cur"
    gora = "gora"

    @property
    def changes_weights(self) -> bool:
        """Whether the pretrained weights give something up, so that the output starts unchanged."""
        return self in (Start.pissa, Start.olora, Start.lora_ga, Start.corda, Start.cur)


@dataclass
class LoraGaConfig:
    """LoRA-GA's start."""

    examples: Size = field(default=8, metadata=ADDED)
    """Training examples whose loss's gradient is decomposed."""
    gamma: Positive = field(default=16.0, metadata=ADDED)
    """A and B are scaled O^(1/4) / gamma^(1/2), O outputs of the layer; below 16 the start is larger."""


@dataclass
class EvaConfig:
    """EVA's start."""

    rho: Annotated[float, Interval(ge=1, le=1_000_000)] = field(default=2.0, metadata=ADDED)
    """Largest rank of a layer, as a multiple of the mean rank; 1 leaves all ranks equal. For method=eva alone."""
    tau: Between = field(default=0.99, metadata=ADDED)
    """A component has converged once its cosine with that of the batch before reaches this."""
    batch_size: Size = field(default=16, metadata=ADDED)
    """Training examples whose inputs are decomposed at a time."""
    most_batches: Steps = field(default=1000, metadata=ADDED)
    """Components that have not converged after so many batches end the run."""


class CordaMode(StrEnum):
    """Which components CorDA's start takes.

    ipm: the largest, which are about the task (instruction-previewed).
    kpm: the smallest, which leaves what the model knows of the examples to the frozen weights (knowledge-preserved).
    """

    ipm = "ipm"
    kpm = "kpm"


@dataclass
class CordaConfig:
    """CorDA's start."""

    mode: CordaMode = field(default=CordaMode.ipm, metadata=ADDED)
    examples: Size = field(default=256, metadata=ADDED)
    """Training examples whose inputs of each layer are correlated, as many as there are at most."""


@dataclass
class GoraConfig:
    """GoRA's start, and the gradients that method gora reads its ranks off."""

    batches: Size = field(default=32, metadata=ADDED)
    """Training batches of the run's size whose mean gradient is taken."""
    learning_rate: Positive = field(default=0.05, metadata=ADDED)
    """Length of the step over the gradient's, were A's rows to reach it in proportion to their number."""


@dataclass
class VariantConfig:
    """What is different from plain LoRA. In AutoLoRA all of it is about the retraining; method.search.rslora is the
    search's."""

    start: Start = field(default=Start.lora, metadata=ADDED)
    rslora: bool = field(default=False, metadata=ADDED)
    """Scale by alpha / sqrt(rank), not alpha / rank (rsLoRA: Kalajdzievski, 2023)."""
    dora: bool = field(default=False, metadata=ADDED)
    """A and B change directions; the magnitude of every output is a weight of its own (DoRA: Liu et al., 2024)."""
    rate_ratio: Positive = field(default=1.0, metadata=ADDED)
    """B's learning rate as a multiple of A's (LoRA+: Hayou et al., 2024)."""
    lora_pro: bool = field(default=False, metadata=ADDED)
    """Steps of A and B whose joint effect on the weight is closest to that of full fine-tuning (LoRA-Pro: Wang et al.,
    2025). Keeps Adam's moments for all of the adapted weights."""
    options: dict[str, Any] = field(default_factory=dict, metadata=ADDED)
    """Further options of PEFT's LoraConfig, by its names, as in {init_lora_weights: gaussian, lora_bias: true}."""
    lora_ga: LoraGaConfig = field(default_factory=LoraGaConfig, metadata=ADDED)
    """For start=lora_ga."""
    eva: EvaConfig = field(default_factory=EvaConfig, metadata=ADDED)
    """For start=eva."""
    corda: CordaConfig = field(default_factory=CordaConfig, metadata=ADDED)
    """For start=corda."""
    gora: GoraConfig = field(default_factory=GoraConfig, metadata=ADDED)
    """For start=gora."""
