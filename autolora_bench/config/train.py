"""How a training phase runs, the same for every method."""

from dataclasses import dataclass, field
from enum import Enum

from autolora_bench.config.identity import ADDED, LOCATION, recorded_as
from autolora_bench.config.ranges import AUTO, Amount, Names, Positive, Share, Size, Steps, Threads, Way

WAYS = ("cpu_kernels", "padding_free")
"""Settings that change the time of the same computation, and which numbers dropout draws."""


class Precision(Enum):
    """Arithmetic of the forward and backward pass; weights that are trained stay in fp32."""

    fp32 = "single precision"
    bf16 = "bfloat16 autocast"


class Keep(Enum):
    """Which epoch's weights a training phase leaves behind."""

    best = "the epoch with the best headline score on the first evaluation split"
    last = "the last epoch"


class Schedule(Enum):
    """Learning-rate schedules of transformers."""

    linear = "warm-up, then linear decay to zero"
    cosine = "warm-up, then cosine decay to zero"
    constant_with_warmup = "warm-up, then constant"


@dataclass
class TrainConfig:
    """Settings shared by all methods; the learning rate belongs to the method."""

    epochs: Positive = 30.0
    """Passes over the training data."""
    max_steps: Steps | None = None
    """Stop after so many optimizer steps, whatever `epochs` says: for trials."""
    batch_size: Size = 16
    """Examples per optimizer step, over all processes and accumulated micro-batches."""
    accumulation: Size = 1
    """Micro-batches per optimizer step."""
    evaluation_batch_size: Size = 64
    """Examples scored at once."""
    weight_decay: Amount = 0.01
    """Decoupled, as AdamW has it; of the head, and of what a method trains where the method says nothing."""
    warmup: Share = 0.06
    """Share of the optimizer steps."""
    schedule: Schedule = Schedule.linear
    clip: Amount = 1.0
    """Largest gradient norm; 0 clips nothing."""
    head_learning_rate: Positive | None = field(default=None, metadata=ADDED)
    """Peak learning rate of the task's head, the same for every method; none takes the method's own rate."""
    label_smoothing: Share = 0.0
    """Share of the probability that is spread over all classes, or tokens of the vocabulary."""
    precision: Precision = Precision.fp32
    keep: Keep = Keep.best
    group_by_length: bool = False
    """Batches of similar lengths: less padding, another data order, which is of the seed and the epoch alone."""
    cpu_kernels: Way = field(default=AUTO, metadata=recorded_as(False))
    """Faster kernels on a CPU, for up to two more copies of the frozen weights in memory, three while it decodes. The
    same up to rounding, but dropout draws other numbers. auto: on a CPU, where the copies fit in a quarter of the free
    memory."""
    padding_free: Way = field(default=AUTO, metadata=recorded_as(False))
    """Compute next to no padding of training batches. The same up to rounding, but dropout draws for other elements.
    auto: on a CPU, where model and method are proved to allow it."""
    gradient_checkpointing: bool = field(default=False, metadata=ADDED)
    """Keep the inputs of each block alone and compute what is inside it again in the backward pass: less memory, about
    a third more time. The same numbers, beside the same padding_free and cpu_kernels: auto leaves both off here, so
    that dropout draws others than without it."""
    compile: bool = field(default=False, metadata=ADDED)
    """Train by torch.compile, with fused kernels that are made in the first steps, which takes minutes on a CPU. The
    same up to rounding, but dropout draws other numbers. What is read between epochs and at the end is not compiled."""
    fsdp: bool = field(default=False, metadata=ADDED)
    """Of several processes each keeps a part of the frozen weights while it trains, and gathers those of a block as it
    computes it (PyTorch's FSDP2). The same up to rounding. Evaluation and export need all weights in every process."""
    threads: Threads | None = field(default=None, metadata=LOCATION)
    """CPU threads of torch; none leaves torch's choice."""
    log_steps: Steps = field(default=50, metadata=LOCATION)
    """Optimizer steps between two progress lines."""
    checkpoint_minutes: Amount = field(default=10.0, metadata=LOCATION)
    """Longest time between checkpoints inside an epoch; one is also written after every epoch."""
    trackers: Names = field(default_factory=list, metadata=LOCATION)
    """Experiment trackers that are told losses and scores: tensorboard, wandb, mlflow, trackio."""
