"""The exact hypergradient: differentiate through the weight step.

The training pass keeps its graph, so nothing is computed twice: its forward runs on clones of the weights
(the optimizer then updates the originals in place without spoiling the graph), its gradient g is built with a
graph, and M w is the derivative of <g, w> with respect to alpha. Attention runs in the twice differentiable
kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.step import Batch, InnerStep, mean_over_processes


class Unrolled(Hypergradient):
    """h = d - M J v by a double backward. Holds the training graph until the step is done."""

    substitutes = True
    extra_passes = 1.0

    def __init__(self) -> None:
        self._leaves: list[Tensor] = []
        self._gradients: list[Tensor | None] = []

    def prepare(self, step: InnerStep) -> None:
        """Clone W as it is now."""
        self.start(step, step.parameters)

    def start(self, step: InnerStep, weights: Sequence[Tensor]) -> None:
        """Take `weights` for W."""
        step.selection.track()
        self._leaves = [w.detach().clone().requires_grad_() for w in weights]
        self._gradients = [None] * len(self._leaves)

    def training_pass(self, step: InnerStep, batch: Batch) -> Tensor:
        """Forward and backward with graph; sets the weights' `.grad` to the sum so far."""
        loss = self.keep(step, batch)
        known = [g for g in self._gradients if g is not None]
        values = iter(mean_over_processes([g.detach().clone() for g in known]))
        for weight, gradient in zip(step.parameters, self._gradients, strict=True):
            weight.grad = None if gradient is None else next(values)
        return loss

    def keep(self, step: InnerStep, batch: Batch) -> Tensor:
        """Add one micro-batch's gradient, graph and all, to what `terms` differentiates."""
        with sdpa_kernel(SDPBackend.MATH):
            loss = step.loss_at(self._leaves, batch)
        gradients = torch.autograd.grad(loss, self._leaves, create_graph=True, allow_unused=True)
        self._gradients = [_add(a, b) for a, b in zip(self._gradients, gradients, strict=True)]
        return loss.detach()

    def terms(self, step: InnerStep) -> Terms:
        """Both terms, exact; frees the graph."""
        direct, v = step.validation_gradients(with_weights=True)
        w, _ = step.pull_back(v)
        known = [(g, direction) for g, direction in zip(self._gradients, w, strict=True) if g is not None]
        outputs, cotangents = zip(*known, strict=True)
        implicit = torch.autograd.grad(outputs, step.selection.current, cotangents, materialize_grads=True)
        self._leaves, self._gradients = [], []
        return Terms(direct, mean_over_processes(implicit)[0])


def _add(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    return gradient if total is None else total if gradient is None else total + gradient
