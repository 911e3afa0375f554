"""How far the weight step moves the weights per unit of training gradient: W_hat = W - u(g), J = du/dg.

J is the optimizer's diagonal D (SGD: the learning rate; Adam and AdamW: through both moments and bias
corrections) times the Jacobian of clipping by the global norm. Decoupled weight decay does not enter. Weights
are handled as one flat vector of N numbers, in the order of the optimizer's groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from autolora_bench.errors import UserError


def pull_back(
    optimizer: Optimizer,
    weights: Sequence[nn.Parameter],
    v: Sequence[Tensor],
    norm: Tensor | None = None,
    limit: float = 0.0,
) -> tuple[list[Tensor], list[Tensor]]:
    """J^T v and the unclipped training gradient g, for each weight.

    Call it right after `optimizer.step()`: `.grad` still holds the gradient that the step used, the optimizer's
    state the updated moments. A weight without gradient was not moved and gets zeros.

    Args:
        norm: of the gradient before it was clipped to `limit`; None where it was not clipped.

    Raises:
        UserError: D is not known for this optimizer.
    """
    v_of = dict(zip(weights, v, strict=True))
    groups = [
        (group, [w for w in group["params"] if w in v_of and w.grad is not None])
        for group in optimizer.param_groups
    ]
    moved = [w for _, members in groups for w in members]
    diagonal = torch.cat([step_diagonal(optimizer, group, members) for group, members in groups if members])
    flat, g = diagonal * _flat([v_of[w] for w in moved]), _gradient(moved)
    if norm is not None:
        flat, g = unclip(flat, g, norm, limit)
    return _split(flat, moved, weights), _split(g, moved, weights)


def unclip(w: Tensor, clipped: Tensor, norm: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Carry w (N,) back through `clip_grad_norm_`, g' = c g with c = min(1, limit / (norm + 1e-6)), norm = |g|.

    Returns:
        The pulled back w, and g.
    """
    coefficient = (limit / (norm + 1e-6)).clamp(max=1.0)
    along = clipped.dot(w) / (coefficient * norm * (norm + 1e-6))
    shrink = torch.where(coefficient < 1, along, torch.zeros_like(along))
    return coefficient * w - shrink * clipped, clipped / coefficient


def step_diagonal(optimizer: Optimizer, group: dict[str, Any], weights: Sequence[nn.Parameter]) -> Tensor:
    """D (N,) for the weights of one parameter group.

    Raises:
        UserError: the optimizer or its options are none of those known here.
    """
    if isinstance(optimizer, (Adam, AdamW)) and _is_plain_adam(optimizer, group):
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
    g, m, r2 = _gradient(weights), *(_flat([s[key] for s in states]) for key in ("exp_avg", "exp_avg_sq"))
    steps = torch.stack([s["step"] for s in states]).double()
    c1, c2 = (_spread(1 - b**steps, weights) for b in (b1, b2))
    r = (r2 / c2).sqrt()
    slope = torch.where(r > 0, g / r, torch.zeros_like(g))
    past = r + group["eps"]
    change_of_m = (1 - b1) / (c1 * past)
    change_of_r = (m / c1) * (1 - b2) * slope / (c2 * past * past)
    diagonal: Tensor = group["lr"] * (change_of_m - change_of_r)
    return diagonal


def _is_plain_adam(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    decoupled = isinstance(optimizer, AdamW) or group.get("decoupled_weight_decay", False)
    return not group["amsgrad"] and not group["maximize"] and (decoupled or not group["weight_decay"])


def _gradient(weights: Sequence[nn.Parameter]) -> Tensor:
    return _flat([w.grad for w in weights if w.grad is not None])


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def _spread(values: Tensor, weights: Sequence[Tensor]) -> Tensor:
    values = values.to(weights[0])
    return torch.cat([value.expand(w.numel()) for value, w in zip(values, weights, strict=True)])


def _split(flat: Tensor, moved: Sequence[nn.Parameter], weights: Sequence[nn.Parameter]) -> list[Tensor]:
    parts = dict(zip(moved, torch.split(flat, [w.numel() for w in moved]), strict=True))
    return [parts[w].view_as(w) if w in parts else torch.zeros_like(w) for w in weights]
