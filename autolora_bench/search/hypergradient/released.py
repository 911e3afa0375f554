"""The released code's step, for comparison of cost and direction (ruz048/AutoLoRA@314c6f4).

It looks ahead one weight step, differentiates the validation loss twice, takes a central difference around
W_hat (the paper: around W) with the classifier head in the perturbation, weights the implicit term 1 (the
paper: the learning rate; no Jacobian of Adam), draws new dropout masks in every pass, rolls everything back by
deep copies, and takes the weight step again after the step on beta: five forward and six backward passes.
Batches and optimizer are the run's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.central_difference import difference_step
from autolora_bench.search.hypergradient.step import InnerStep

RADIUS = 0.01


class Released(Hypergradient):
    """h = d - M_hat v as released; the run's own weight step serves as the look-ahead."""

    remembers = True
    distributed = False
    extra_passes = (3 + 2 * 4) / 3

    def __init__(self) -> None:
        self._model: dict[str, Any] = {}
        self._optimizer: dict[str, Any] = {}

    def prepare(self, step: InnerStep) -> None:
        """Copy all weights, frozen ones included, and the optimizer."""
        step.selection.refresh()
        self._model = copy.deepcopy(step.model.state_dict())
        self._optimizer = copy.deepcopy(step.optimizer.state_dict())

    def terms(self, step: InnerStep) -> Terms:
        """Both terms, then the roll-back to W."""
        step.selection.track()
        loss = step.validation_loss(step.model, step.validation)
        v = torch.autograd.grad(loss, step.parameters, retain_graph=True, materialize_grads=True)
        direct = torch.autograd.grad(loss, step.selection.current)[0]
        e = difference_step(v, RADIUS, half_precision=False)
        _move(step, v, e)
        beyond = _alpha_gradient(step)
        _move(step, v, -2 * e)
        short = _alpha_gradient(step)
        step.model.load_state_dict(self._model)
        step.optimizer.load_state_dict(self._optimizer)
        return Terms(direct, (beyond - short) / (2 * e))

    def finish(self, step: InnerStep) -> None:
        """The weight step again, from W, with the new alpha."""
        for done in step.passes:
            self.training_pass(step, done.batch)
        if step.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(step.parameters, step.max_grad_norm)
        step.optimizer.step()


@torch.no_grad()
def _move(step: InnerStep, v: Sequence[Tensor], e: Tensor) -> None:
    for weight, direction in zip(step.parameters, v, strict=True):
        weight.add_(e * direction)


def _alpha_gradient(step: InnerStep) -> Tensor:
    losses = [step.training_loss(step.model, done.batch) for done in step.passes]
    return torch.autograd.grad(torch.stack(losses).sum(), step.selection.current)[0]
