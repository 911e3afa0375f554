"""M w as a central difference of training gradients with respect to alpha, on both sides of W along w.

Both perturbed passes see the training pass's dropout masks, and run on substituted weights, so there is
nothing to restore.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.step import InnerStep, mean_over_processes


class CentralDifference(Hypergradient):
    """h = d - M J v with M w = (grad_alpha L_tr(W + e w) - grad_alpha L_tr(W - e w)) / 2e.

    Three extra passes.

    Args:
        radius: length of the perturbation e w; None picks it by precision.
    """

    remembers = True
    substitutes = True
    extra_passes = 2.0

    def __init__(self, radius: float | None = None) -> None:
        self.radius = radius

    def terms(self, step: InnerStep) -> Terms:
        """Both terms; the error of the second is of the order of the radius squared."""
        direct, v = step.validation_gradients(with_weights=True)
        w = step.pull_back(v)
        e = difference_step(w, self.radius, half_precision=step.half_precision)
        beyond, short = (step.replayed_alpha_gradient(along(step.before, w, x)) for x in (e, -e))
        return Terms(direct, mean_over_processes([(beyond - short) / (2 * e)])[0])


def difference_step(w: Sequence[Tensor], radius: float | None, half_precision: bool) -> Tensor:
    """e such that e w has length `radius`: by default 0.1 in bf16, 1e-3 in fp32, 1e-6 in fp64."""
    if radius is None:
        radius = 0.1 if half_precision else 1e-6 if w[0].dtype == torch.float64 else 1e-3
    norm = torch.nn.utils.get_total_norm(w)
    return radius / norm.clamp_min(torch.finfo(norm.dtype).tiny)


def along(weights: Sequence[Tensor], w: Sequence[Tensor], e: Tensor) -> list[Tensor]:
    """weights + e w."""
    return [weight + e * direction for weight, direction in zip(weights, w, strict=True)]
