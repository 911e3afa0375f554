"""Reptile (Nichol et al., 2018) for selection variables: follow the gradients that lie on the weights' own path.

Reptile moves parameters by the difference between where an inner loop of n optimizer steps began and where it led,
which for SGD is the rate times the sum of the loop's gradients, g_1 + ... + g_n. Alpha is not among what the loop
moves, so it has no difference of its own; but each gradient of the path names alpha's, by identity I1:
alpha_j dL/dalpha_j = <b_j, g_bj> = <a_j, g_aj>. Their mean over the path is what is taken, whatever optimizer made the
steps: a step of Adam is no gradient, and its difference would not be one either.

What is learnt: alpha that lower the training loss along the path; and, as a later batch is met by weights that earlier
batches have moved, alpha under which a step for one batch helps on another (their analysis, section 5.1: the gradients'
inner products, in expectation). What is not: anything about the validation half, which is never read (let it be small:
method.search.train_share), and the derivative of the path itself. With one step there is no path: that would be joint
training of weights and alpha, and is refused. A component whose alpha is exactly zero stays where it is.
"""

from __future__ import annotations

import torch

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.closed_form import over_alpha
from autolora_bench.search.hypergradient.step import InnerStep


class Reptile(Hypergradient):
    """h = mean of the training gradients with respect to alpha along the inner steps. No extra pass."""

    remembers = True
    several_steps = True
    least_steps = 2
    validates = False

    def terms(self, step: InnerStep) -> Terms:
        """The mean as the direct term; implicit term zero."""
        place = {id(weight): i for i, weight in enumerate(step.parameters)}
        pairs = [(place[id(a)], place[id(b)]) for a, b in step.factors]
        alpha = step.selection.current.detach()
        mean = torch.zeros_like(alpha)
        starts = [*(done.before for done in step.past), step.before]
        taken = step.optimizer_steps()
        for done, weights in zip(taken, starts, strict=True):
            g = done.unclipped(weights)
            rows = [((weights[a] * g[a]).sum(dim=1) + (weights[b] * g[b]).sum(dim=0)) / 2 for a, b in pairs]
            mean += over_alpha(torch.stack(rows), alpha) / len(taken)
        return Terms(mean, torch.zeros_like(mean))
