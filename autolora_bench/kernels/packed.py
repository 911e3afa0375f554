"""Linear layers whose weights, while nothing changes them, are multiplied in oneDNN's packed layout on a CPU.

In single precision torch multiplies matrices with MKL, which reaches less of an AMD core's speed than oneDNN does with
packed weights. Under bfloat16 autocast, which otherwise converts every weight in every pass, the packed weights are in
bfloat16. Results differ by rounding alone. The two operators are those that torch.compile uses; where torch lacks them,
or the processor bfloat16, nothing is packed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

SMALLEST = 1 << 15
"""Weights of a layer that is worth the trouble."""
_pack = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_multiply = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_knows_bf16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)


class PackedMatrix:
    """Copies of a frozen matrix (O, D) in packed layout, each made when it is first needed.

    Args:
        matrix: must not change as long as this is used.
        dtype: of the copies, and of the inputs of a product.
    """

    def __init__(self, matrix: Tensor, dtype: torch.dtype) -> None:
        self.matrix = matrix.detach()
        self.dtype = dtype

    @cached_property
    def forth(self) -> Tensor:
        """For (N, D) -> (N, O)."""
        assert _pack is not None
        packed: Tensor = _pack(self.matrix.to(self.dtype).contiguous())
        return packed

    @cached_property
    def back(self) -> Tensor:
        """For (N, O) -> (N, D)."""
        assert _pack is not None
        packed: Tensor = _pack(self.matrix.T.to(self.dtype).contiguous())
        return packed


class _Product(torch.autograd.Function):
    """(N, D) -> (N, O), or from O to D where `back`; can be differentiated as often as one likes."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bias: Tensor | None, matrix: PackedMatrix, back: bool) -> Tensor:
        assert _multiply is not None
        ctx.matrix, ctx.back = matrix, back
        outputs: Tensor = _multiply(inputs, matrix.back if back else matrix.forth, bias, "none", [], "")
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        of_inputs = of_bias = None
        if ctx.needs_input_grad[0]:
            of_inputs = _product(gradient, None, ctx.matrix, not ctx.back)
        if ctx.needs_input_grad[1]:
            of_bias = gradient.sum(0)
        return of_inputs, of_bias, None, None


_product: Callable[..., Tensor] = _Product.apply


class _Packed(nn.Module):
    """What packed layers of both kinds share; their weights are not trained."""

    packed: PackedMatrix
    bias: Any

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., D) -> (..., O), in the type of the packed weights; as ever where another arithmetic is asked for."""
        autocast = torch.is_autocast_enabled("cpu")
        wanted = torch.get_autocast_dtype("cpu") if autocast else inputs.dtype
        if wanted is not self.packed.dtype:
            outputs: Tensor = super().forward(inputs)
            return outputs
        bias = None if self.bias is None else self.bias.to(wanted)
        rows = inputs.to(wanted).reshape(
            -1, inputs.shape[-1]
        )  # outside of _Product: PEFT may add to its output
        outputs = _product(rows, bias, self.packed, False)
        return outputs.view(*inputs.shape[:-1], outputs.shape[-1])


class PackedLinear(_Packed, nn.Linear):
    """A linear layer."""


class PackedConv1D(_Packed, Conv1D):
    """GPT-2's linear layer, whose weight is (D, O)."""


KINDS = {nn.Linear: PackedLinear, Conv1D: PackedConv1D}


@contextmanager
def packed_linears(model: nn.Module, bf16: bool = False, only_frozen: bool = False) -> Iterator[None]:
    """Within this context single-precision linear layers and GPT-2's Conv1D on the CPU multiply by packed weights.

    Their weights, which stay where they are, must not be changed meanwhile. Small layers, layers of other types or on
    other devices are as ever. Contexts may lie within each other: the inner one packs the weights as it finds them.

    Args:
        bf16: the model runs under bfloat16 autocast.
        only_frozen: leave out the layers whose weight requires a gradient; without it the model must only read.
    """
    with _unpacked(model):
        dtype = torch.bfloat16 if bf16 else torch.float32
        able = _can_multiply(bf16)
        found: list[Any] = [
            layer for layer in model.modules() if able and _is_worth_packing(layer, only_frozen)
        ]
        for layer in found:
            transposed = type(layer) is Conv1D
            layer.packed = PackedMatrix(layer.weight.T if transposed else layer.weight, dtype)
            layer.__class__ = KINDS[type(layer)]
        try:
            yield
        finally:
            for layer in found:
                _restore(layer)


@contextmanager
def _unpacked(model: nn.Module) -> Iterator[None]:
    packed = [(layer, layer.packed) for layer in model.modules() if isinstance(layer, _Packed)]
    for layer, _ in packed:
        _restore(layer)
    try:
        yield
    finally:
        for layer, matrix in packed:
            layer.packed = matrix
            layer.__class__ = KINDS[type(layer)]


def _restore(layer: Any) -> None:
    layer.__class__ = next(plain for plain, packed in KINDS.items() if type(layer) is packed)
    del layer.packed


def _can_multiply(bf16: bool) -> bool:
    mkldnn: Any = torch.backends.mkldnn
    if _pack is None or _multiply is None or not mkldnn.is_available():
        return False
    return not bf16 or bool(_knows_bf16 and _knows_bf16())


def _is_worth_packing(layer: Any, only_frozen: bool) -> bool:
    return (
        type(layer) in KINDS
        and layer.weight.dtype is torch.float32
        and layer.weight.device.type == "cpu"
        and layer.weight.numel() >= SMALLEST
        and not (only_frozen and layer.weight.requires_grad)
    )
