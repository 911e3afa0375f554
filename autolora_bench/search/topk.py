"""The k largest of n numbers as a smooth function: weights in (0, 1) whose sum is k.

alpha = argmax <beta, a> + H(a) over 0 <= a <= 1, sum a = k, with H the sum of the binary entropies: the limited
multi-label projection of Amos, Koltun and Kolter (2019), and the exact solution of the entropic transport problem
that SOFT top-k (Xie et al., 2020) approaches by Sinkhorn iterations. It is alpha = sigmoid(beta + nu) with the
one number nu that makes the sum k. A temperature would only divide beta.

G groups of N numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

HALVINGS, NEWTON_STEPS = 24, 4
"""The interval that holds nu is at most as wide as beta's range. The sum's second derivative is at most its first,
so once within a hundredth Newton's error is squared at every step: four reach double precision."""


def soft_top_k(beta: Tensor, k: float) -> Tensor:
    """Alpha (G, N) of beta (G, N): each row sums to k, 0 < k < N, up to rounding.

    Differentiable once: with s = alpha (1 - alpha), the implicit function theorem gives
    d alpha_i / d beta_j = s_i delta_ij - s_i s_j / sum(s).
    """
    alpha: Tensor = _SoftTopK.apply(beta, k)  # type: ignore[no-untyped-call]
    return alpha


class _SoftTopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, beta: Tensor, k: float) -> Tensor:
        values = beta.detach().double()
        alpha = torch.sigmoid(values + _offset(values, k))
        ctx.save_for_backward(alpha)
        return alpha.to(beta.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (alpha,) = ctx.saved_tensors
        gradient = gradients[0].double()
        slope = alpha * (1 - alpha)
        total = slope.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
        mean = (slope * gradient).sum(dim=-1, keepdim=True) / total
        return (slope * (gradient - mean)).to(gradients[0].dtype), None


def _offset(values: Tensor, k: float) -> Tensor:
    """nu (G, 1): were all values equal to the largest, it would have to be `low`; to the smallest, `high`."""
    equal = torch.logit(torch.tensor(k / values.shape[-1], dtype=values.dtype))
    low = equal - values.amax(dim=-1, keepdim=True)
    high = equal - values.amin(dim=-1, keepdim=True)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = torch.sigmoid(values + middle).sum(dim=-1, keepdim=True) < k
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    offset = (low + high) / 2
    for _ in range(NEWTON_STEPS):
        alpha = torch.sigmoid(values + offset)
        slope = (alpha * (1 - alpha)).sum(dim=-1, keepdim=True)
        excess = alpha.sum(dim=-1, keepdim=True) - k
        offset = offset - torch.where(slope > 0, excess / slope, 0.0).clamp(low - offset, high - offset)
    return offset
