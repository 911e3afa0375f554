"""The exact hypergradient: differentiate through the weight steps.

The training pass keeps its graph, so nothing is computed twice: its forward runs on clones of the weights
(the optimizer then updates the originals in place without spoiling the graph), its gradient g is built with a
graph, and M w is the derivative of <g, w> with respect to alpha. Through several inner steps the derivative of <g, w>
with respect to the step's weights, H w, goes on to the step before. Attention runs in the twice differentiable kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.step import (
    Batch,
    InnerLoop,
    InnerStep,
    PastStep,
    mean_over_processes,
)


class TrainingGraphs:
    """The training gradients of an inner loop's steps, each with its graph down to that step's weights."""

    def __init__(self) -> None:
        self._leaves: list[list[Tensor]] = []
        self._gradients: list[list[Tensor | None]] = []

    def start(self, weights: Sequence[Tensor]) -> None:
        """Begin a step, and take `weights` for its W."""
        self._leaves.append([w.detach().clone().requires_grad_() for w in weights])
        self._gradients.append([None] * len(weights))

    def keep(self, step: InnerLoop, batch: Batch) -> Tensor:
        """Add one micro-batch's gradient, graph and all, to that of the latest step; returns the detached loss."""
        leaves = self._leaves[-1]
        with sdpa_kernel(SDPBackend.MATH):
            loss = step.loss_at(leaves, batch)
        gradients = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
        self._gradients[-1] = [_add(a, b) for a, b in zip(self._gradients[-1], gradients, strict=True)]
        return loss.detach()

    def train(self, step: InnerLoop, batch: Batch) -> Tensor:
        """`keep`, and set the weights' `.grad` to the step's sum so far, averaged over processes."""
        loss = self.keep(step, batch)
        known = [g for g in self._gradients[-1] if g is not None]
        values = iter(mean_over_processes([g.detach().clone() for g in known]))
        for weight, gradient in zip(step.parameters, self._gradients[-1], strict=True):
            weight.grad = None if gradient is None else next(values)
        return loss

    def replay(self, step: InnerLoop, done: PastStep | InnerLoop) -> None:
        """Build a remembered step's graph, through the masks that its passes drew; the generators are left as they
        were."""
        with step.preserved_random_state():
            self.start(done.before)
            for seen in done.passes:
                seen.random.restore()
                self.keep(step, seen.batch)

    def products(
        self, direction: Sequence[Tensor], inputs: Sequence[Tensor], first: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Take the latest step off and differentiate <its gradient, `direction`>.

        Args:
            direction: w, for each weight.
            inputs: other tensors that the gradient depends on.
            first: whether H w is asked for of the loop's first step too.

        Returns:
            With respect to each of `inputs`, M w; and to its weights, H w, which is empty for the loop's first step
            unless `first`: nothing asks what came before it. Averaged over processes.
        """
        leaves, gradients = self._leaves.pop(), self._gradients.pop()
        known = [(g, w) for g, w in zip(gradients, direction, strict=True) if g is not None]
        outputs, cotangents = zip(*known, strict=True)
        wanted = [*inputs, *(leaves if self._leaves or first else [])]
        if not wanted:
            return [], []
        found = mean_over_processes(torch.autograd.grad(outputs, wanted, cotangents, materialize_grads=True))
        return found[: len(inputs)], found[len(inputs) :]


class Unrolled(Hypergradient):
    """h = d - M J v by a double backward. Holds the training graphs of all inner steps until the loop is done."""

    remembers = True
    substitutes = True
    several_steps = True
    extra_passes = 1.0

    def __init__(self) -> None:
        self._graphs = TrainingGraphs()

    def prepare(self, step: InnerStep) -> None:
        """Clone W as it is now."""
        step.selection.track()
        self._graphs = TrainingGraphs()
        self._graphs.start(step.parameters)

    def advance(self, step: InnerStep) -> None:
        """Clone W as it has become."""
        self._graphs.start(step.parameters)

    def resume(self, step: InnerStep) -> None:
        """Build the earlier steps' graphs anew."""
        self.replay(step, step.past)
        self._graphs.start(step.parameters)

    def replay(self, step: InnerStep, steps: Sequence[PastStep | InnerLoop]) -> None:
        """Have the graphs of `steps`, from what was remembered of them."""
        step.selection.track()
        self._graphs = TrainingGraphs()
        for done in steps:
            self._graphs.replay(step, done)

    def training_pass(self, step: InnerStep, batch: Batch) -> Tensor:
        """Forward and backward with graph; sets the weights' `.grad` to the sum so far."""
        return self._graphs.train(step, batch)

    def terms(self, step: InnerStep) -> Terms:
        """Both terms, exact; frees the graphs."""
        direct, v = step.validation_gradients(with_weights=True)
        implicit = torch.zeros_like(direct)
        carried: list[list[Tensor]] = []
        for taken in reversed(step.optimizer_steps()):
            back = taken.back(v, carried)
            [product], curvature = self._graphs.products(back.direction, [step.selection.current])
            implicit += product
            carried = back.carried
            v = [a - h for a, h in zip(back.arriving, curvature, strict=True)] if curvature else back.arriving
        return Terms(direct, implicit)


def _add(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    return gradient if total is None else total if gradient is None else total + gradient
