"""Both terms from two ordinary gradients, without a second derivative.

Along a direction w in the weights, alpha_j [M w]_j = <w_bj, g_bj> + <w_aj, g_aj> + a curvature term, where g
is the training gradient: differentiate the identity alpha_j dL/dalpha_j = <b_j, g_bj> = <a_j, g_aj> along w.
The curvature term is zero while B = 0 and is dropped here. The direction is w = J v with the exact Jacobian of
the weight step; only its LoRA part enters the products.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.step import InnerStep


class ClosedForm(Hypergradient):
    """h = d - M J v with M from inner products of gradients. One extra pass, with weight gradients."""

    def terms(self, step: InnerStep) -> Terms:
        """Both terms; a component whose alpha is exactly zero gets no implicit part."""
        direct, v = step.validation_gradients(with_weights=True)
        w, g = step.pull_back(v)
        products = dict(zip(step.parameters, (a * b for a, b in zip(w, g, strict=True)), strict=True))
        rows = [
            products[factor_a].sum(dim=1) + products[factor_b].sum(dim=0)
            for factor_a, factor_b in step.factors
        ]
        return Terms(direct, _divide(torch.stack(rows), step.selection.current.detach()))


def _divide(numerator: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(alpha == 0, 0.0, numerator / torch.where(alpha == 0, 1.0, alpha))
