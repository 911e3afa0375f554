"""The direct term alone: the implicit term is dropped, as in the paper's ablation eta = 0.

d is taken by autograd on the leaf `Selection.current`. For alpha_j other than zero it equals <b_j, dL/db_j> /
alpha_j = <a_j, dL/da_j> / alpha_j, since the loss sees alpha_j, a_j and b_j only through their product; but
the division fails where a sigmoid or unconstrained alpha is zero, and autograd on the leaf needs no weight
gradients at all, so the validation pass costs less than a training pass.

After several inner steps it is what first-order MAML takes (Finn et al., 2017, section 5.2): the gradient where the
loop has led, as if the way there did not depend on the variables.
"""

from __future__ import annotations

import torch

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.step import InnerStep


class FirstOrder(Hypergradient):
    """h = d. One extra pass, however many the inner steps."""

    several_steps = True

    def terms(self, step: InnerStep) -> Terms:
        """Direct term at W_hat; implicit term zero."""
        direct, _ = step.validation_gradients(with_weights=False)
        return Terms(direct, torch.zeros_like(direct))
