"""How far the weight step moves the weights per unit of training gradient: W_hat = W - u(g), J = du/dg.

J is the optimizer's diagonal D (SGD: the learning rate; Adam and AdamW: through both moments and bias
corrections) times the Jacobian of clipping by the global norm. Decoupled weight decay does not enter. Weights
are handled as one flat vector of N numbers, in the order of the optimizer's groups.

Through several steps in a row the optimizer's memory carries on too: an earlier gradient is also in the moments that
later steps use. `OptimizerStep.back` goes through weights and memory together, latest step first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from autolora_bench.errors import UserError


@dataclass(frozen=True)
class Memory:
    """What an optimizer keeps of earlier gradients: x <- keep x + gain g, of which the step takes off reach x, for
    small changes of x and g. Each (N,)."""

    keep: Tensor
    gain: Tensor
    reach: Tensor


@dataclass(frozen=True)
class Back:
    """What a change of the loss per change of W_hat is worth one optimizer step earlier; signs as in h = d - M J v.

    Attributes:
        direction: J^T v and what the memories carry, per unit of training gradient, for each weight.
        gradient: the training gradient before clipping, for each weight.
        arriving: the same per change of W, without the curvature of the training loss, which takes off H `direction`.
        carried: the same per change of each memory before the step, for each weight.
    """

    direction: list[Tensor]
    gradient: list[Tensor]
    arriving: list[Tensor]
    carried: list[list[Tensor]]


@dataclass(frozen=True)
class OptimizerStep:
    """One step of an optimizer, to first order: enough to go back through it once the optimizer has moved on.

    Attributes:
        moved: which of the weights the step moved, in the order of the optimizer's groups; N numbers in all.
        gradient: (N,) as the step used it, clipped.
        diagonal: D (N,).
        shrink: (N,) what the step leaves of W by itself: 1 - rate x decay, where weight decay is decoupled.
        coupled: (N,) weight decay that is part of the gradient.
        memories: of the optimizer; empty where no earlier step is asked about.
        norm: of the gradient before it was clipped to `limit`; None where it was not clipped.
    """

    moved: tuple[int, ...]
    gradient: Tensor
    diagonal: Tensor
    shrink: Tensor
    coupled: Tensor
    memories: tuple[Memory, ...] = ()
    norm: Tensor | None = None
    limit: float = 0.0

    @classmethod
    def taken(
        cls,
        optimizer: Optimizer,
        weights: Sequence[nn.Parameter],
        norm: Tensor | None = None,
        limit: float = 0.0,
        memories: bool = False,
    ) -> OptimizerStep:
        """The step just taken: call it right after `optimizer.step()`, while `.grad` still holds the gradient that the
        step used, and the optimizer's state and rates are those of the step.

        Raises:
            UserError: the optimizer's Jacobian is not known.
        """
        place = {id(w): i for i, w in enumerate(weights)}
        groups = [
            (group, [w for w in group["params"] if id(w) in place and w.grad is not None])
            for group in optimizer.param_groups
        ]
        groups = [(group, members) for group, members in groups if members]
        moved = [w for _, members in groups for w in members]
        decay = [_decay(optimizer, group, members) for group, members in groups]
        kept = [step_memories(optimizer, group, members) for group, members in groups] if memories else []
        return cls(
            tuple(place[id(w)] for w in moved),
            _gradient(moved),
            torch.cat([step_diagonal(optimizer, group, members) for group, members in groups]),
            torch.cat([shrink for shrink, _ in decay]),
            torch.cat([coupled for _, coupled in decay]),
            tuple(_joined(parts) for parts in zip(*kept, strict=True)),
            norm,
            limit,
        )

    def unclipped(self, like: Sequence[Tensor]) -> list[Tensor]:
        """The training gradient before clipping, for each weight; zero for those that did not move."""
        g = self.gradient
        if self.norm is not None:
            g = g / (self.limit / (self.norm + 1e-6)).clamp(max=1.0)
        return self._split(g, [torch.zeros_like(x) for x in like])

    def decayed(self, before: Sequence[Tensor]) -> list[Tensor]:
        """What decoupled weight decay took off each weight, `before` the step; zero for those that did not move."""
        taken = (1 - self.shrink) * self._flat(before)
        return self._split(taken, [torch.zeros_like(x) for x in before])

    def back(self, v: Sequence[Tensor], carried: Sequence[Sequence[Tensor]] = ()) -> Back:
        """Go back through the step.

        Args:
            v: change of the loss per change of each weight after the step. A weight that did not move gets zeros.
            carried: of the later step's `Back`; empty where there is none.
        """
        arriving = self._flat(v)
        direction = self.diagonal * arriving
        before = [self._flat(c) for c in carried] or [torch.zeros_like(arriving) for _ in self.memories]
        if carried:
            direction = direction + sum(m.gain * c for m, c in zip(self.memories, before, strict=True))
        onward = self.shrink * arriving - self.coupled * direction
        kept = [m.keep * (c + m.reach * arriving) for m, c in zip(self.memories, before, strict=True)]
        g = self.gradient
        if self.norm is not None:
            direction, g = unclip(direction, g, self.norm, self.limit)
        nothing = [torch.zeros_like(x) for x in v]
        return Back(
            self._split(direction, nothing),
            self._split(g, nothing),
            self._split(onward, v),
            [self._split(c, carried[i] if carried else nothing) for i, c in enumerate(kept)],
        )

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        return _flat([tensors[i] for i in self.moved])

    def _split(self, flat: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
        """As the weights are; those that did not move from `others`."""
        parts = list(others)
        sizes = [others[i].numel() for i in self.moved]
        for i, part in zip(self.moved, torch.split(flat, sizes), strict=True):
            parts[i] = part.view_as(others[i])
        return parts


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
        "use AdamW, Adam without weight decay, SGD without dampening, or estimator=first_order",
    )


def step_memories(
    optimizer: Optimizer, group: dict[str, Any], weights: Sequence[nn.Parameter]
) -> tuple[Memory, ...]:
    """What the optimizer keeps for the weights of one group: Adam's two moments, SGD's momentum. D is the sum of
    gain x reach, and for Nesterov's momentum the rate beside it."""
    like = _flat(weights)
    if isinstance(optimizer, SGD):
        momentum = torch.full_like(like, group["momentum"])
        reach = torch.full_like(like, group["lr"])
        return (Memory(momentum, torch.ones_like(like), reach * momentum if group["nesterov"] else reach),)
    b1, b2 = group["betas"]
    g, m, r, c1, c2 = _moments(optimizer, group, weights)
    past = r + group["eps"]
    per_r = torch.where(r > 0, (m / c1) / r, torch.zeros_like(r)) / (2 * c2 * past * past)
    first = Memory(torch.full_like(like, b1), torch.full_like(like, 1 - b1), group["lr"] / (c1 * past))
    second = Memory(torch.full_like(like, b2), 2 * (1 - b2) * g, -group["lr"] * per_r)
    return first, second


def _decay(
    optimizer: Optimizer, group: dict[str, Any], weights: Sequence[nn.Parameter]
) -> tuple[Tensor, Tensor]:
    like, decay = _flat(weights), group["weight_decay"]
    if isinstance(optimizer, SGD):
        return torch.ones_like(like), torch.full_like(like, decay)
    return torch.full_like(like, 1 - group["lr"] * decay), torch.zeros_like(like)


def _joined(parts: Sequence[Memory]) -> Memory:
    return Memory(*(torch.cat([getattr(p, name) for p in parts]) for name in ("keep", "gain", "reach")))


def _adam(optimizer: Optimizer, group: dict[str, Any], weights: Sequence[nn.Parameter]) -> Tensor:
    b1, b2 = group["betas"]
    g, m, r, c1, c2 = _moments(optimizer, group, weights)
    slope = torch.where(r > 0, g / r, torch.zeros_like(g))
    past = r + group["eps"]
    change_of_m = (1 - b1) / (c1 * past)
    change_of_r = (m / c1) * (1 - b2) * slope / (c2 * past * past)
    diagonal: Tensor = group["lr"] * (change_of_m - change_of_r)
    return diagonal


def _moments(
    optimizer: Optimizer, group: dict[str, Any], weights: Sequence[nn.Parameter]
) -> tuple[Tensor, ...]:
    """Gradient, first moment, root of the corrected second moment, and both corrections, each (N,)."""
    states = [optimizer.state[w] for w in weights]
    g, m, r2 = _gradient(weights), *(_flat([s[key] for s in states]) for key in ("exp_avg", "exp_avg_sq"))
    steps = torch.stack([s["step"] for s in states]).double()
    c1, c2 = (_spread(1 - b**steps, weights) for b in group["betas"])
    return g, m, (r2 / c2).sqrt(), c1, c2


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
