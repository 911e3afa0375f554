"""GPT-2 keeps query, key and value in one matrix, `c_attn`: three linear layers in its place can be adapted apart.

Shapes: D inputs, O outputs of one projection; c_attn's weight is (D, 3 O), a linear layer's (O, D).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

PARTS = ("query", "key", "value")


class SplitProjection(nn.Module):
    """`c_attn` as the layers query, key and value; its output is theirs side by side, as before."""

    query: nn.Module
    key: nn.Module
    value: nn.Module

    def __init__(self, fused: Conv1D) -> None:
        super().__init__()
        weights = fused.weight.detach().chunk(len(PARTS), dim=1)
        biases = fused.bias.detach().chunk(len(PARTS))
        for part, weight, bias in zip(PARTS, weights, biases, strict=True):
            linear = nn.Linear(weight.shape[0], weight.shape[1], device="meta")
            linear.weight = nn.Parameter(weight.T.contiguous())
            linear.bias = nn.Parameter(bias.clone())
            setattr(self, part, linear)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., D) -> (..., 3 O)."""
        return torch.cat([self.query(inputs), self.key(inputs), self.value(inputs)], dim=-1)

    @torch.no_grad()
    def fused(self) -> Conv1D:
        """The same layer as GPT-2 has it. Only for parts without an adapter."""
        parts = [getattr(self, part) for part in PARTS]
        weight = torch.cat([part.weight.T for part in parts], dim=1)
        fused = Conv1D(weight.shape[1], weight.shape[0])  # type: ignore[no-untyped-call]
        fused.weight = nn.Parameter(weight.contiguous())
        fused.bias = nn.Parameter(torch.cat([part.bias for part in parts]))
        return fused


def split_attention(model: nn.Module) -> None:
    """Replace every `c_attn` of self-attention by its three parts, in place; outputs are the same."""
    for module in list(model.modules()):
        fused = getattr(module, "c_attn", None)
        if isinstance(fused, Conv1D) and fused.nf == len(PARTS) * fused.nx:
            module.c_attn = SplitProjection(fused)


@contextmanager
def fused_attention(model: nn.Module) -> Iterator[None]:
    """Within this context the model has GPT-2's own layers, for saving it in GPT-2's own format."""
    holders: list[Any] = list(model.modules())
    found = [
        (module, module.c_attn)
        for module in holders
        if isinstance(getattr(module, "c_attn", None), SplitProjection)
    ]
    for module, split in found:
        module.c_attn = split.fused()
    try:
        yield
    finally:
        for module, split in found:
            module.c_attn = split


def has_split(model: nn.Module) -> bool:
    """Whether `split_attention` changed the model."""
    return any(isinstance(module, SplitProjection) for module in model.modules())
