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


def _draw(shape: torch.Size) -> Tensor:
    """Numbers of 16 bits, from torch's generator."""
    draws = torch.empty(-(-shape.numel() // PER_DRAW), dtype=torch.int64).random_(-(1 << 63), None)
    return draws.view(torch.int16)[: shape.numel()].view(shape)


class _Drop(torch.autograd.Function):
    """Drops where a number is among the `dropped` lowest of PARTS; can be differentiated as often as one likes.

    Keeps two bytes an element for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, numbers: Tensor, dropped: int) -> Tensor:
        ctx.save_for_backward(numbers)
        ctx.dropped = dropped
        factors = torch.empty(inputs.shape, dtype=inputs.dtype)
        torch.ge(numbers, dropped - PARTS // 2, out=factors)
        return factors.mul_(PARTS / (PARTS - dropped)).mul_(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _drop(gradients[0], *ctx.saved_tensors, ctx.dropped), None, None


_drop: Callable[..., Tensor] = _Drop.apply


def dropout(inputs: Tensor, p: float) -> Tensor:
    """`inputs` on the CPU, of any shape, with elements set to 0 with probability `p`, and the others over 1 - p."""
    dropped = round(p * PARTS)
    if not 0 < dropped < PARTS:
        return nn.functional.dropout(inputs, p)
    return _drop(inputs, _draw(inputs.shape), dropped)


class Dropout(nn.Dropout):
    """nn.Dropout by `dropout`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Of the same shape."""
        return dropout(inputs, self.p) if self.training else inputs


@contextmanager
def drawn_in_parts(model: nn.Module) -> Iterator[None]:
    """Within this context a model's nn.Dropout layers are Dropout."""
    layers = [layer for layer in model.modules() if type(layer) is nn.Dropout and not layer.inplace]
    try:
        for layer in layers:
            layer.__class__ = Dropout
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Dropout
