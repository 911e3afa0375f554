"""Both terms from two ordinary gradients, without a second derivative.

Along a direction w in the weights, alpha_j [M w]_j = <w_bj, g_bj> + <w_aj, g_aj> + a curvature term, where g
is the training gradient: differentiate the identity alpha_j dL/dalpha_j = <b_j, g_bj> = <a_j, g_aj> along w.
The curvature term is zero while B = 0 and is dropped here. The direction is w = J v with the exact Jacobian of
the weight step; only its LoRA part enters the products. A frozen factor does not move: its part of w is zero.

Through several inner steps the products are summed over them. Weights and moments are carried back exactly, but for the
Hessian of the training loss, which would need a pass of its own for every step: like the curvature term it is dropped.
What is lost is of second order in the learning rate while B is small; where B is as large as A, the implicit term of
three steps is no better than none (tests/search/hypergradient/test_estimators.py), and `unrolled` is for that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.step import InnerStep


class ClosedForm(Hypergradient):
    """h = d - M J v with M from inner products of gradients. One extra pass, with weight gradients."""

    several_steps = True

    def terms(self, step: InnerStep) -> Terms:
        """Both terms; a component whose alpha is exactly zero gets no implicit part."""
        direct, v = step.validation_gradients(with_weights=True)
        implicit = torch.zeros_like(direct)
        carried: list[list[Tensor]] = []
        trained = set(step.parameters)
        frozen = {f: torch.zeros_like(f) for pair in step.factors for f in pair if f not in trained}
        for taken in reversed(step.optimizer_steps()):
            back = taken.back(v, carried)
            pairs = zip(back.direction, back.gradient, strict=True)
            products = frozen | dict(zip(step.parameters, (a * b for a, b in pairs), strict=True))
            rows = [
                products[factor_a].sum(dim=1) + products[factor_b].sum(dim=0)
                for factor_a, factor_b in step.factors
            ]
            implicit += over_alpha(torch.stack(rows), step.selection.current.detach())
            v, carried = back.arriving, back.carried
        return Terms(direct, implicit)


def over_alpha(numerator: Tensor, alpha: Tensor) -> Tensor:
    """alpha_j x a derivative -> the derivative, each (L, K); zero where alpha is."""
    return torch.where(alpha == 0, 0.0, numerator / torch.where(alpha == 0, 1.0, alpha))
