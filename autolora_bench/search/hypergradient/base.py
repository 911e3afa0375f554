"""What every estimator of the selection variables' gradient provides. L layers, K components."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autolora_bench.search.hypergradient.step import Batch, InnerStep


@dataclass(frozen=True)
class Terms:
    """The two terms of the hypergradient with respect to alpha, each (L, K).

    Attributes:
        direct: d, the validation gradient with respect to alpha at W_hat.
        implicit: M J v, how alpha changes the training gradient, hence W_hat, hence the validation loss.
    """

    direct: Tensor
    implicit: Tensor

    @property
    def total(self) -> Tensor:
        """d - M J v: the derivative of L_val(W_hat(alpha), alpha)."""
        return self.direct - self.implicit


class Hypergradient(ABC):
    """An estimator. One instance serves one run; the hooks are called in this order at every selection step:
    `prepare`, `training_pass` per micro-batch, (clipping, optimizer step), `terms`, (step on beta), `finish`. With
    several inner steps `advance` comes after every optimizer step but the last, and training passes again.

    Attributes:
        remembers: needs the step's micro-batches, masks and W once the step is done.
        distributed: gives every process the same result in a data-parallel run.
        substitutes: runs passes on other weights than the model's, which recomputed activations would not see.
        half_precision: keeps its direction in bf16.
        several_steps: knows the way back through more than one inner step.
        least_steps: inner steps without which it has no meaning.
        validates: runs a pass over the validation batch.
        extra_passes: forward-and-backward passes over the training batch beyond the weight step's own, for counts of
            operations. A backward counts as two forwards, a backward through a backward as a whole pass.
    """

    remembers: ClassVar[bool] = False
    distributed: ClassVar[bool] = True
    substitutes: ClassVar[bool] = False
    half_precision: ClassVar[bool] = True
    several_steps: ClassVar[bool] = False
    least_steps: ClassVar[int] = 1
    validates: ClassVar[bool] = True
    extra_passes: ClassVar[float] = 0.0

    def prepare(self, step: InnerStep) -> None:
        """Before the first training pass, at W."""
        step.selection.refresh()

    def advance(self, step: InnerStep) -> None:  # noqa: B027
        """After an optimizer step that others follow, which `step.past` has noted."""

    def resume(self, step: InnerStep) -> None:
        """In place of `prepare` and `advance` where a resumed run begins inside the loop, behind the steps of
        `step.past`."""
        self.prepare(step)

    def training_pass(self, step: InnerStep, batch: Batch) -> Tensor:
        """Forward and backward of one micro-batch; adds to the weights' `.grad`, returns the detached loss."""
        loss = step.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @abstractmethod
    def terms(self, step: InnerStep) -> Terms:
        """After the optimizer step, at W_hat, with the weights' `.grad` as the optimizer saw it. The
        validation pass is the first to draw dropout masks. Weights and optimizer stay as they are (`released`
        rolls them back)."""

    def finish(self, step: InnerStep) -> None:  # noqa: B027
        """After the step on beta."""
