"""Estimators without the implicit term: no derivative of the way that the weights have taken.

`FirstOrder` takes the direct term alone, as in the paper's ablation eta = 0; `Reptile` the gradients that lie on the
weights' own path.
"""

from __future__ import annotations

import torch

from autolora_bench.errors import require
from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.closed_form import over_alpha
from autolora_bench.search.hypergradient.step import InnerStep, require_reached


class FirstOrder(Hypergradient):
    """h = d. One extra pass, however many the inner steps.

    d is taken by autograd on the leaf `Selection.current`. For alpha_j other than zero it equals <b_j, dL/db_j> /
    alpha_j = <a_j, dL/da_j> / alpha_j, since the loss sees alpha_j, a_j and b_j only through their product; but the
    division fails where a sigmoid or unconstrained alpha is zero, and autograd on the leaf needs no weight gradients at
    all, so the validation pass costs less than a training pass.

    After several inner steps it is what first-order MAML takes (Finn et al., 2017, section 5.2): the gradient where the
    loop has led, as if the way there did not depend on the variables.
    """

    several_steps = True

    def terms(self, step: InnerStep) -> Terms:
        """Direct term at W_hat; implicit term zero."""
        direct, _ = step.validation_gradients(with_weights=False)
        return Terms(direct, torch.zeros_like(direct))


class Reptile(Hypergradient):
    """h = mean of the training gradients with respect to alpha along the inner steps. No extra pass.

    Reptile (Nichol et al., 2018) moves parameters by the difference between where an inner loop of n optimizer steps
    began and where it led, which for SGD is the rate times the sum of the loop's gradients, g_1 + ... + g_n. Alpha is
    not among what the loop moves, so it has no difference of its own; but each gradient of the path names alpha's, by
    identity I1: alpha_j dL/dalpha_j = <b_j, g_bj> = <a_j, g_aj>. Their mean over the path is what is taken, whatever
    optimizer made the steps: a step of Adam is no gradient, and its difference would not be one either.

    What is learnt: alpha that lower the training loss along the path; and, as a later batch is met by weights that
    earlier batches have moved, alpha under which a step for one batch helps on another (their analysis, section 5.1:
    the gradients' inner products, in expectation). What is not: anything about the validation half, which is never read
    (let it be small: method.search.train_share), and the derivative of the path itself. With one step there is no path:
    that would be joint training of weights and alpha, and is refused. A component whose alpha is exactly zero stays
    where it is. In a layer whose lora_A or lora_B is frozen the other's identity is taken alone.
    """

    remembers = True
    several_steps = True
    least_steps = 2
    validates = False

    def terms(self, step: InnerStep) -> Terms:
        """The mean as the direct term; implicit term zero.

        Raises:
            UserError: no gradient has reached the LoRA layers, or a layer has no trained factor.
        """
        place = {id(weight): i for i, weight in enumerate(step.parameters)}
        layers = [
            [(place[id(factor)], along) for factor, along in ((a, 1), (b, 0)) if id(factor) in place]
            for a, b in step.factors
        ]
        require(
            all(layers),
            "estimator=reptile reads the gradients of lora_A and lora_B: a layer has both frozen",
            "train one of them, or use another estimator",
        )
        alpha = step.selection.current.detach()
        mean = torch.zeros_like(alpha)
        starts = [*(done.before for done in step.past), step.before]
        taken = step.optimizer_steps()
        moved = {i for done in taken for i in done.moved}
        require_reached(any(i in moved for layer in layers for i, _ in layer))
        for done, weights in zip(taken, starts, strict=True):
            g = done.unclipped(weights)
            rows = [
                torch.stack([(weights[i] * g[i]).sum(dim=along) for i, along in layer]).mean(dim=0)
                for layer in layers
            ]
            mean += over_alpha(torch.stack(rows), alpha) / len(taken)
        return Terms(mean, torch.zeros_like(mean))
