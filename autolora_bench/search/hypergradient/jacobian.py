"""How far the weight step moves the weights per unit of training gradient: W_hat = W - u(g), J = du/dg.

J is the optimizer's diagonal D (SGD: the learning rate; Adam and AdamW: through both moments and bias
corrections) times the Jacobian of clipping by the global norm. Decoupled weight decay does not enter. N
numbers in a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from autolora_bench.errors import UserError


def pull_back_step(
    optimizer: Optimizer, weights: Sequence[nn.Parameter], v: Sequence[Tensor]
) -> list[Tensor]:
    """D v for each weight, right after `optimizer.step()`: `.grad` still holds the gradient that the step
    used, the optimizer's state the updated moments. A weight without gradient was not moved: zero.

    Raises:
        UserError: D is not known for this optimizer.
    """
    position = {weight: i for i, weight in enumerate(weights)}
    pulled = [torch.zeros_like(w) for w in weights]
    for group in optimizer.param_groups:
        moved = [w for w in group["params"] if w in position and w.grad is not None]
        if not moved:
            continue
        flat = step_diagonal(optimizer, group, moved) * _flat([v[position[w]] for w in moved])
        for weight, part in zip(moved, torch.split(flat, [w.numel() for w in moved]), strict=True):
            pulled[position[weight]] = part.view_as(weight)
    return pulled


def pull_back_clipping(
    gradients: Sequence[Tensor], norm: Tensor, limit: float, w: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """Carry w back through `clip_grad_norm_`, g' = c g with c = min(1, limit / (norm + 1e-6)).

    Args:
        gradients: g', as clipped in place.
        norm: of g, before clipping.

    Returns:
        The pulled back directions and c, with which g = g' / c.
    """
    coefficient = (limit / (norm + 1e-6)).clamp(max=1.0)
    along = torch.stack([(g * direction).sum() for g, direction in zip(gradients, w, strict=True)]).sum()
    shrink = torch.where(
        coefficient < 1, along / (coefficient * norm * (norm + 1e-6)), torch.zeros_like(along)
    )
    return [coefficient * d - shrink * g for g, d in zip(gradients, w, strict=True)], coefficient


def step_diagonal(optimizer: Optimizer, group: dict[str, Any], weights: Sequence[nn.Parameter]) -> Tensor:
    """D (N,) for the weights of one parameter group, flattened one after the other."""
    if isinstance(optimizer, Adam) and not group["amsgrad"] and not group["maximize"] and _decoupled(group):
        return _adam(optimizer, group, weights)
    if isinstance(optimizer, SGD) and not group["dampening"] and not group["maximize"]:
        factor = 1 + group["momentum"] if group["nesterov"] else 1.0
        return torch.full_like(_flat(weights), group["lr"] * factor)
    raise UserError(
        f"the Jacobian of {type(optimizer).__name__} with these options is not known",
        "use AdamW, Adam without weight decay, SGD without dampening, or hypergradient=first_order",
    )


def _adam(optimizer: Optimizer, group: dict[str, Any], weights: Sequence[nn.Parameter]) -> Tensor:
    b1, b2 = group["betas"]
    states = [optimizer.state[w] for w in weights]
    g = _flat([w.grad for w in weights if w.grad is not None])
    m = _flat([s["exp_avg"] for s in states])
    r2 = _flat([s["exp_avg_sq"] for s in states])
    steps = torch.stack([s["step"] for s in states]).double()
    c1, c2 = (_spread(1 - b**steps, weights) for b in (b1, b2))
    r = (r2 / c2).sqrt()
    slope = torch.where(r > 0, g / r, torch.zeros_like(g))
    past = r + group["eps"]
    diagonal: Tensor = group["lr"] * (
        (1 - b1) / (c1 * past) - (m / c1) * (1 - b2) * slope / (c2 * past * past)
    )
    return diagonal


def _decoupled(group: dict[str, Any]) -> bool:
    return bool(group["decoupled_weight_decay"]) or not group["weight_decay"]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def _spread(values: Tensor, weights: Sequence[Tensor]) -> Tensor:
    return torch.cat(
        [value.expand(w.numel()) for value, w in zip(values.to(weights[0]), weights, strict=True)]
    )
