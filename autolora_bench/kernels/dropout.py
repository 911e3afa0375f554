"""Dropout that draws 16 random bits an element.

On a CPU torch draws a number of 53 bits an element, one after the other, where the processor is not Intel's: in LoRA
training of a small encoder 8 % of the time. What is dropped here is other elements, drawn from the same generator, and
the share of them is rounded to a multiple of 1 / 65536.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PARTS = 1 << 16
"""Values of 16 bits, of which the share that is dropped is the lowest."""
PER_DRAW = 4
"""16-bit numbers in one number that torch draws."""


class Kept:
    """Which elements of a tensor are kept.

    Args:
        shape: of the tensor.
        dropped: of PARTS elements, fewer than all of them.
    """

    def __init__(self, shape: torch.Size, dropped: int) -> None:
        self.dropped = dropped
        draws = torch.empty(-(-shape.numel() // PER_DRAW), dtype=torch.int64).random_(-(1 << 63), None)
        self.bits = draws.view(torch.int16)[: shape.numel()].view(shape)

    def factors(self, dtype: torch.dtype) -> Tensor:
        """What dropout multiplies by: 0, or one over the share that is kept."""
        factors = torch.empty(self.bits.shape, dtype=dtype)
        torch.ge(self.bits, self.dropped - PARTS // 2, out=factors)
        return factors.mul_(PARTS / (PARTS - self.dropped))


class _Drop(torch.autograd.Function):
    """Keeps two bytes an element for the backward pass, and can be differentiated as often as one likes."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, kept: Kept) -> Tensor:
        ctx.kept = kept
        return kept.factors(inputs.dtype).mul_(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _drop(gradients[0], ctx.kept), None


_drop: Callable[..., Tensor] = _Drop.apply


def dropout(inputs: Tensor, p: float) -> Tensor:
    """`inputs` on the CPU, of any shape, with elements set to 0 with probability `p`, and the others over 1 - p."""
    dropped = round(p * PARTS)
    if not 0 < dropped < PARTS:
        return nn.functional.dropout(inputs, p)
    return _drop(inputs, Kept(inputs.shape, dropped))


class Dropout(nn.Dropout):
    """nn.Dropout by `dropout`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Of the same shape."""
        return dropout(inputs, self.p) if self.training else inputs


@contextmanager
def drawn_in_parts(model: nn.Module) -> Iterator[None]:
    """Within this context a model's nn.Dropout layers are Dropout."""
    layers = [layer for layer in model.modules() if type(layer) is nn.Dropout and not layer.inplace]
    for layer in layers:
        layer.__class__ = Dropout
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Dropout
