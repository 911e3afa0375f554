"""Attention with dropout on a CPU, where PyTorch has no fused kernel for it.

What PyTorch does instead looks for rows that are masked whole, in three passes over the weights of attention, draws its
masks slowly, and computes in single precision even in bfloat16. Here a row that is masked whole attends to everything,
scores are in the type of the queries and their softmax is in single precision, all as in transformers' own attention.

Shapes: B batch, H heads, T tokens, D features of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autolora_bench.models.attention import attention_replaced
from autolora_bench.speedups.dropout import dropout

BEYOND = ("position_bias", "cache", "softcap")
"""Arguments of transformers' attention that ask for more than this one does."""


@contextmanager
def dropping_attention(model: nn.Module) -> Iterator[None]:
    """Within this context modules of `model` whose attention is PyTorch's attend by `attend` where they drop out."""
    with attention_replaced(partial(_forward, frozenset(model.modules()))):
        yield


def _forward(
    modules: frozenset[nn.Module],
    usual: Any,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """(B, H, T, D) -> (B, T, H, D), as transformers calls an attention."""
    more = any(others.get(name) is not None for name in BEYOND)
    if not dropout or module not in modules or query.shape != key.shape or more:
        outputs: tuple[Tensor, None] = usual(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            **others,
        )
        return outputs
    if attention_mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        tokens = query.shape[-2]
        attention_mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, attention_mask, dropout, scale).transpose(1, 2).contiguous(), None


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, p: float, scaling: float
) -> Tensor:
    """Queries, keys and values (B, H, T, D) -> (B, H, T, D).

    Args:
        mask: (B or 1, H or 1, T, T), or what broadcasts to it: true where a query may attend, or numbers to add.
        p: which share of the weights of attention is dropped.
        scaling: what the products of queries and keys are multiplied by.
    """
    scores = torch.matmul(query * scaling, key.transpose(-2, -1))
    if mask is not None and mask.dtype is torch.bool:
        mask = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, torch.finfo(scores.dtype).min)
    if mask is not None:
        scores = scores + mask
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
    return torch.matmul(dropout(weights, p), value)
