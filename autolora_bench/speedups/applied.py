"""What `train` says of speed, applied to a model while it trains or is evaluated."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from autolora_bench.config.train import Precision, TrainConfig
from autolora_bench.speedups.attention import dropping_attention
from autolora_bench.speedups.dropout import drawn_in_parts
from autolora_bench.speedups.packed import packed_linears
from autolora_bench.speedups.padding_free import padding_free


@contextmanager
def sped_up(model: nn.Module, train: TrainConfig) -> Iterator[None]:
    """Within this context, if `train` says so, a model trains without padding, and computes with kernels for a CPU.

    What `train` leaves to auto is off: who runs a phase has decided it before (speedups.auto).

    What requires a gradient by now, and nothing else, may be changed meanwhile.
    """
    with ExitStack() as stack:
        if train.cpu_kernels is True:
            stack.enter_context(
                packed_linears(model, bf16=train.precision is Precision.bf16, only_frozen=True)
            )
            stack.enter_context(drawn_in_parts(model))
            stack.enter_context(dropping_attention(model))
        if train.padding_free is True:
            stack.enter_context(padding_free(model))
        if train.compile:
            stack.callback(torch.compiler.reset)  # no run inherits another's graphs, or its count of them
        yield
