"""The direct term alone: the implicit term is dropped, as in the paper's ablation eta = 0.

d is taken by autograd on the leaf `Selection.current`. For alpha_j other than zero it equals <b_j, dL/db_j> /
alpha_j = <a_j, dL/da_j> / alpha_j, since the loss sees alpha_j, a_j and b_j only through their product; but
the division fails where a sigmoid or unconstrained alpha is zero, and autograd on the leaf needs no weight
gradients at all, so the validation pass costs less than a training pass.
"""

from __future__ import annotations

import torch

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.step import InnerStep


class FirstOrder(Hypergradient):
    """h = d. One extra pass."""

    def terms(self, step: InnerStep) -> Terms:
        """Direct term at W_hat; implicit term zero."""
        direct, _ = step.validation_gradients(with_weights=False)
        return Terms(direct, torch.zeros_like(direct))
