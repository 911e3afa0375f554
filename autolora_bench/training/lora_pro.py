"""LoRA-Pro (Wang et al., ICLR 2025): AdamW whose steps of A and B come closest to a step of the full weight.

Shapes: D inputs, O outputs, r rank; W = W0 + s B A with A (r, D) and B (O, r); G (O, D) is the gradient of W, and
LoRA's gradients are s B'G of A and s G A' of B.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

DAMPING = 1e-8
"""Added to the diagonals before they are inverted, as the authors' code does (mrflogs/LoRA-Pro)."""
Pair = tuple[nn.Parameter, nn.Parameter, float]
"""A, B and the scale s of a layer."""


@torch.no_grad()
def corrected(
    a: Tensor, b: Tensor, gradient_a: Tensor, gradient_b: Tensor, scale: float, damping: float = DAMPING
) -> tuple[Tensor, Tensor]:
    """Directions (r, D) of A and (O, r) of B in place of LoRA's gradients.

    Theorem 2.1: s (B dA + dB A) is closest to G in Frobenius norm for any X (r, r) in
        dA = (B'B)^-1 gA / s^2 + X A        dB = (1 - B (B'B)^-1 B') gB (A A')^-1 / s^2 - B X.
    Theorem 2.3: of these X, the one with the least |dA - gA|^2 + |dB - gB|^2 solves
        B'B X + X A A' = -(B'B)^-1 gA A' / s^2.
    Inverses and X come from the eigenvectors of B'B and A A', in double precision.

    Args:
        a, b: A and B.
        gradient_a, gradient_b: LoRA's own gradients, gA and gB.
        scale: s.
        damping: added to the eigenvalues before they are inverted. Where B is zero so are gA, X and dA.
    """
    values_b, vectors_b = torch.linalg.eigh((b.T @ b).double())
    values_a, vectors_a = torch.linalg.eigh((a @ a.T).double())
    inverse_b = ((vectors_b / (values_b.clamp(min=0) + damping)) @ vectors_b.T).to(a.dtype)
    inverse_a = ((vectors_a / (values_a.clamp(min=0) + damping)) @ vectors_a.T).to(a.dtype)
    step_a = inverse_b @ gradient_a / scale**2
    scaled = gradient_b @ inverse_a / scale**2
    step_b = scaled - b @ (inverse_b @ (b.T @ scaled))
    right = vectors_b.T @ -(step_a @ a.T).double() @ vectors_a
    sums = values_b.clamp(min=0)[:, None] + values_a.clamp(min=0)[None, :] + damping
    x = (vectors_b @ (right / sums) @ vectors_a.T).to(a.dtype)
    return step_a + x @ a, step_b - b @ x


def equivalent(a: Tensor, b: Tensor, step_a: Tensor, step_b: Tensor, scale: float) -> Tensor:
    """(O, D): what steps of A and B do to W, to first order: s (B dA + dB A)."""
    return scale * (b @ step_a + step_b @ a)


class LoraProAdamW(torch.optim.AdamW):
    """LoRA-Pro with AdamW (the paper's algorithm 2) for pairs A and B, plain AdamW for all other weights.

    Adam's moments are those of the equivalent gradient, (O, D) for every layer: as much memory as for full
    fine-tuning of the adapted weights. Weight decay is decoupled, of A and B themselves.

    Args:
        pairs: A, B and scale of every layer.
        others: the other trained weights; vectors are not decayed.
        pairs_decay: weight decay of A and B; none takes that of the others.
        options: lr, betas, eps and weight_decay of AdamW.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        others: Iterable[nn.Parameter],
        pairs_decay: float | None = None,
        **options: Any,
    ) -> None:
        rest = list(others)
        own = {} if pairs_decay is None else {"weight_decay": pairs_decay}
        groups: list[dict[str, Any]] = [{"params": [a, b], "scale": scale, **own} for a, b, scale in pairs]
        groups.append({"params": [weight for weight in rest if weight.ndim > 1]})
        groups.append({"params": [weight for weight in rest if weight.ndim <= 1], "weight_decay": 0.0})
        super().__init__([group for group in groups if group["params"]], **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of all weights; the gradients of A and B are used up."""
        for group in self.param_groups:
            if "scale" in group and group["params"][0].grad is not None:
                self._step_pair(group)
        return super().step(closure)

    def _step_pair(self, group: dict[str, Any]) -> None:
        a, b = group["params"]
        scale, rate = group["scale"], group["lr"]
        steps = corrected(a, b, a.grad, b.grad, scale)
        gradient = self._adam(self.state[a], equivalent(a, b, *steps, scale), group)
        step_a, step_b = corrected(a, b, scale * b.T @ gradient, scale * gradient @ a.T, scale)
        for weight, step in ((a, step_a), (b, step_b)):
            weight.mul_(1 - rate * group["weight_decay"])
            weight.add_(step, alpha=-rate)
            weight.grad = None

    def _adam(self, state: dict[str, Any], gradient: Tensor, group: dict[str, Any]) -> Tensor:
        """Adam's direction for the equivalent gradient (O, D)."""
        first, second = group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(gradient)
            state["exp_avg_sq"] = torch.zeros_like(gradient)
        state["step"] += 1
        step = float(state["step"])
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        spread = state["exp_avg_sq"].sqrt() / math.sqrt(1 - second**step) + group["eps"]
        direction: Tensor = state["exp_avg"] / (1 - first**step) / spread
        return direction
