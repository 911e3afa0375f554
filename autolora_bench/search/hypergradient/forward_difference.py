"""M w as a one-sided difference of training gradients with respect to alpha, at W and a little along w.

The gradient at W is the training pass's own, so one perturbed pass is enough. It sees the same dropout masks,
and runs on substituted weights, so there is nothing to restore.
"""

from __future__ import annotations

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.central_difference import along, difference_step
from autolora_bench.search.hypergradient.step import InnerStep, mean_over_processes


class ForwardDifference(Hypergradient):
    """h = d - M J v with M w = (grad_alpha L_tr(W + e w) - grad_alpha L_tr(W)) / e. Two extra passes.

    Args:
        radius: length of the perturbation e w; None picks it by precision.
    """

    remembers = True
    substitutes = True
    half_precision = False
    extra_passes = 1.0

    def __init__(self, radius: float | None = None) -> None:
        self.radius = radius

    def prepare(self, step: InnerStep) -> None:
        """Have the training pass also fill `current.grad`."""
        step.selection.refresh(requires_grad=True)

    def terms(self, step: InnerStep) -> Terms:
        """Both terms; the error of the second is of the order of the radius."""
        direct, v = step.validation_gradients(with_weights=True)
        w = step.pull_back(v)
        e = difference_step(w, self.radius, half_precision=step.half_precision)
        at_w = step.selection.current.grad
        assert at_w is not None
        beyond = step.replayed_alpha_gradient(along(step.before, w, e))
        return Terms(direct, mean_over_processes([(beyond - at_w) / e])[0])
