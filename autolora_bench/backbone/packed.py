"""Linear layers in oneDNN's packed layout, for as long as a model only reads on a CPU.

In single precision torch multiplies matrices with MKL, which reaches less than half of an AMD core's speed; oneDNN
with packed weights reaches it. Under bfloat16 autocast, which otherwise converts every weight in every pass, the packed
weights are in bfloat16. Results differ by rounding alone. The two operators are those that torch.compile uses; where
torch lacks them, or the processor bfloat16, nothing is packed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

SMALLEST = 1 << 15
"""Weights of a layer that is worth the trouble."""
_pack = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_multiply = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_knows_bf16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)


class PackedLinear(nn.Module):
    """A linear layer with packed weights of type `dtype`; not trainable."""

    def __init__(self, layer: Any, dtype: torch.dtype) -> None:
        super().__init__()
        assert _pack is not None
        weight = layer.weight.detach().to(dtype)
        self.weight = _pack((weight.T if isinstance(layer, Conv1D) else weight).contiguous())
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self.dtype = dtype
        shape = layer.weight.shape if isinstance(layer, Conv1D) else layer.weight.T.shape
        self.in_features, self.out_features = int(shape[0]), int(shape[1])

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., D) -> (..., O), in the type of the weights."""
        assert _multiply is not None
        outputs: Tensor = _multiply(inputs.to(self.dtype), self.weight, self.bias, "none", [], "")
        return outputs


@contextmanager
def packed_linears(model: nn.Module, bf16: bool = False) -> Iterator[None]:
    """Within this context single-precision linear layers and GPT-2's Conv1D on the CPU are packed copies of themselves.

    Small layers, layers with hooks, of other types or on other devices stay as they are. The model's own layers are
    put back afterwards, untouched.

    Args:
        bf16: the model runs under bfloat16 autocast.
    """
    if bf16 and not (_knows_bf16 and _knows_bf16()):
        yield
        return
    dtype = torch.bfloat16 if bf16 else torch.float32
    found = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if _can_be_packed(layer)
    ]
    for parent, name, layer in found:
        parent._modules[name] = PackedLinear(layer, dtype)
    try:
        yield
    finally:
        for parent, name, layer in found:
            parent._modules[name] = layer


def _can_be_packed(layer: Any) -> bool:
    return (
        _pack is not None
        and _multiply is not None
        and type(layer) in (nn.Linear, Conv1D)
        and layer.weight.dtype is torch.float32
        and layer.weight.device.type == "cpu"
        and layer.weight.numel() >= SMALLEST
        and not (layer._forward_hooks or layer._forward_pre_hooks)
    )
