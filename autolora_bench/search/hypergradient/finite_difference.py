"""M w as a difference of training gradients with respect to alpha: on both sides of W along w, on one, or as released.

But for the released code's, perturbed passes see the training pass's dropout masks, and run on substituted weights, so
there is nothing to restore.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.step import InnerStep, gradients, mean_over_processes

RADIUS = 0.01
"""Length of the perturbation in the released code."""


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


class ForwardDifference(Hypergradient):
    """h = d - M J v with M w = (grad_alpha L_tr(W + e w) - grad_alpha L_tr(W)) / e. Two extra passes.

    The gradient at W is the training pass's own, so one perturbed pass is enough.

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


class Released(Hypergradient):
    """h = d - M_hat v as released (ruz048/AutoLoRA@314c6f4), for comparison of cost and direction.

    It looks ahead one weight step, differentiates the validation loss twice, takes a central difference around W_hat
    (the paper: around W) with the classifier head in the perturbation, weights the implicit term 1 (the paper: the
    learning rate; no Jacobian of Adam), draws new dropout masks in every pass, rolls everything back by deep copies,
    and takes the weight step again after the step on beta: five forward and six backward passes. Batches and optimizer
    are the run's, whose own weight step serves as the look-ahead.
    """

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
        [direct] = gradients(loss, [step.selection.current], [step.selection.current])
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
