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
    """Copies of a layer's frozen matrix (O, D) in packed layout, each made when it is first needed.

    Cannot be copied or pickled once it has been used: torch cannot copy the packed layout.

    Args:
        matrix: must not change as long as this is used.
        bias: (O,) or none; may change where it requires a gradient.
        dtype: of the copies, and of the inputs of a product.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.matrix = matrix.detach()
        self.bias = bias if bias is None or bias.requires_grad else bias.to(dtype)
        self.dtype = dtype

    @cached_property
    def forth(self) -> Tensor:
        """For (..., D) -> (..., O)."""
        return _packed(self.matrix, self.dtype)

    @cached_property
    def back(self) -> Tensor:
        """For (..., O) -> (..., D)."""
        return _packed(self.matrix.T, self.dtype)


def _packed(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    assert _pack is not None
    packed: Tensor = _pack(matrix.to(dtype).contiguous())
    return packed


def _product(inputs: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    assert _multiply is not None
    outputs: Tensor = _multiply(inputs, matrix, bias, "none", [], "")
    return outputs


class _Product(torch.autograd.Function):
    """(N, D) -> (N, O), or from O to D where `back`; can be differentiated as often as one likes."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bias: Tensor | None, matrix: PackedMatrix, back: bool) -> Tensor:
        ctx.matrix, ctx.back = matrix, back
        return _product(inputs, matrix.back if back else matrix.forth, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        of_inputs = of_bias = None
        if ctx.needs_input_grad[0]:
            of_inputs = _differentiable(gradient, None, ctx.matrix, not ctx.back)
        if ctx.needs_input_grad[1]:
            of_bias = gradient.sum(0)
        return of_inputs, of_bias, None, None


_differentiable: Callable[..., Tensor] = _Product.apply


class _Packed(nn.Module):
    """What packed layers of both kinds share; their weights are not trained."""

    packed: PackedMatrix

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., D) -> (..., O), in the type of the packed weights; as ever where another arithmetic is asked for."""
        matrix = self.packed
        autocast = torch.is_autocast_enabled("cpu")
        if matrix.dtype is not (torch.get_autocast_dtype("cpu") if autocast else inputs.dtype):
            outputs: Tensor = super().forward(inputs)
            return outputs
        inputs = inputs.to(matrix.dtype)
        bias = None if matrix.bias is None else matrix.bias.to(matrix.dtype)
        if not torch.is_grad_enabled():
            return _product(inputs, matrix.forth, bias)
        # Not a view made inside of _Product: autograd would forbid PEFT to add to it in place.
        rows = _differentiable(inputs.reshape(-1, inputs.shape[-1]), bias, matrix, False)
        return rows.view(*inputs.shape[:-1], rows.shape[-1])


class PackedLinear(_Packed, nn.Linear):
    """A linear layer."""


class PackedConv1D(_Packed, Conv1D):
    """GPT-2's linear layer, whose weight is (D, O)."""


KINDS = {nn.Linear: PackedLinear, Conv1D: PackedConv1D}
PLAIN = {packed: plain for plain, packed in KINDS.items()}


@contextmanager
def packed_linears(model: nn.Module, bf16: bool = False, only_frozen: bool = False) -> Iterator[None]:
    """Within this context single-precision linear layers and GPT-2's Conv1D on the CPU multiply by packed weights.

    Their weights, which stay where they are, must not be changed meanwhile. Small layers, layers of other types or on
    other devices are as ever. Contexts may lie within each other: the inner one packs the weights as it finds them.

    Args:
        bf16: the model runs under bfloat16 autocast.
        only_frozen: leave out the layers whose weight requires a gradient; without it the model must only read.
    """
    layers: list[Any] = [layer for layer in model.modules() if type(layer) in KINDS or type(layer) in PLAIN]
    before = [(layer, type(layer), getattr(layer, "packed", None)) for layer in layers]
    dtype = torch.bfloat16 if bf16 else torch.float32
    able = _can_multiply(bf16)
    try:
        for layer in layers:
            _become(layer, PLAIN.get(type(layer), type(layer)), None)
            if able and _is_worth_packing(layer, only_frozen):
                weight = layer.weight.T if type(layer) is Conv1D else layer.weight
                _become(layer, KINDS[type(layer)], PackedMatrix(weight, layer.bias, dtype))
        yield
    finally:
        for layer, kind, matrix in before:
            _become(layer, kind, matrix)


def _become(layer: Any, kind: type[nn.Module], matrix: PackedMatrix | None) -> None:
    layer.__class__ = kind
    vars(layer).pop("packed", None)
    if matrix is not None:
        layer.packed = matrix


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
