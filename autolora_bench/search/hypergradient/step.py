"""The weight steps between two steps on the outer variables: what went in, where it led, and how to ask about it again.

The order is sequential and nothing is rolled back: training gradient at W -> optimizer step, once or several times, to
W_hat -> validation pass at W_hat -> gradient with respect to alpha -> step on beta. Alpha is the same in all of them,
so W_hat is a function of it: the optimizer steps' path, unrolled back to the step where alpha last moved and no further
(truncated unrolling; with several steps and the direct term alone, first-order MAML's shape: Finn et al., 2017).
L layers, K components.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from autolora_bench.errors import require
from autolora_bench.search.hypergradient.jacobian import OptimizerStep
from autolora_bench.search.selection import Selection

Batch = Any
"""Whatever the loss functions understand; estimators only hand it on."""

LossFunction = Callable[[nn.Module, Batch], Tensor]


@dataclass(frozen=True)
class RandomState:
    """State of the generators that draw dropout masks on one device."""

    cpu: Tensor
    cuda: Tensor | None
    device: torch.device

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """The state now; no synchronisation with the device."""
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda, device)

    def restore(self) -> None:
        """Make the next passes draw the masks that followed `capture`."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


@dataclass(frozen=True)
class TrainingPass:
    """One micro-batch of the step and the masks that it was seen through."""

    batch: Batch
    random: RandomState


class _Loss(nn.Module):
    """Loss as a module that contains the model, so that `functional_call` can substitute the model's weights
    while the loss function sees the real model."""

    def __init__(self, model: nn.Module, loss: LossFunction) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(self.model, batch)


@dataclass
class PastStep:
    """A weight step of the loop that others have followed."""

    taken: OptimizerStep
    before: list[Tensor]
    """W, for each weight; empty where nothing is remembered."""
    passes: list[TrainingPass]


@dataclass(kw_only=True)
class InnerLoop:
    """Context of the weight steps between two steps on the outer variables.

    Attributes:
        model: the model in training mode.
        weights: every trainable weight (LoRA and head) by its name in `model`.
        training_loss: loss of a micro-batch, already scaled so that the losses of a step's micro-batches add
            up.
        validation_loss: loss of `validation`, the loop's validation batch.
        parallel: `model` inside its data-parallel wrapper, for passes whose gradient is synchronised.
        max_grad_norm: limit of gradient clipping, 0 where there is none.
        gradient_norm: norm before clipping in the last step, once known.
        half_precision: passes run in bf16, where finite differences need a large step.
        remember: record micro-batches, masks and W, for estimators that look back (and for diagnostics).
        inner_steps: weight steps of the loop.
        passes, before: of the step that is under way, or was the last.
        past: the steps before it.
    """

    model: nn.Module
    optimizer: Optimizer
    weights: Mapping[str, nn.Parameter]
    training_loss: LossFunction
    validation_loss: LossFunction
    validation: Batch = None
    parallel: nn.Module | None = None
    max_grad_norm: float = 0.0
    gradient_norm: Tensor | None = None
    half_precision: bool = False
    remember: bool = False
    inner_steps: int = 1
    passes: list[TrainingPass] = field(default_factory=list)
    before: list[Tensor] = field(default_factory=list)
    past: list[PastStep] = field(default_factory=list)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trainable weights in order."""
        return list(self.weights.values())

    @property
    def device(self) -> torch.device:
        """Where the passes run."""
        return self.parameters[0].device

    def record(self, batch: Batch) -> None:
        """Note a micro-batch before its training pass."""
        if self.remember:
            if not self.passes:
                self.before = [w.detach().clone() for w in self.parameters]
            self.passes.append(TrainingPass(batch, RandomState.capture(self.device)))

    def advance(self) -> None:
        """After an optimizer step that is not the loop's last: note it, and begin the next."""
        self.past.append(PastStep(self._taken(), self.before, self.passes))
        self.before, self.passes, self.gradient_norm = [], [], None

    def optimizer_steps(self) -> list[OptimizerStep]:
        """All of the loop, the first one first; call it right after the last."""
        return [*(done.taken for done in self.past), self._taken()]

    def loss(self, batch: Batch) -> Tensor:
        """Training loss of a micro-batch at the weights in the model, gradients synchronised over
        processes."""
        return self.training_loss(self.model if self.parallel is None else self.parallel, batch)

    def loss_at(self, weights: Sequence[Tensor], batch: Batch) -> Tensor:
        """Training loss of a micro-batch at other weights; the model is not touched."""
        substituted = {f"model.{name}": w for name, w in zip(self.weights, weights, strict=True)}
        loss: Tensor = functional_call(_Loss(self.model, self.training_loss), substituted, (batch,))
        return loss

    def validation_gradient(self, asked: Sequence[Tensor]) -> list[Tensor]:
        """Gradient of the validation loss at W_hat with respect to each weight; `asked` are those that matter.

        Raises:
            UserError: the loss depends on none of those.
        """
        loss = self.validation_loss(self.model, self.validation)
        return mean_over_processes(gradients(loss, self.parameters, asked))

    def _taken(self) -> OptimizerStep:
        if self.max_grad_norm and self.gradient_norm is None:
            raise RuntimeError("gradients were clipped by a norm that nobody noted in the step")
        norm = self.gradient_norm if self.max_grad_norm else None
        several = self.inner_steps > 1
        return OptimizerStep.taken(self.optimizer, self.parameters, norm, self.max_grad_norm, several)

    def preserved_random_state(self) -> Any:
        """Context that leaves the generators of `device` as it found them."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [], device_type="cuda")


@dataclass(kw_only=True)
class InnerStep(InnerLoop):
    """Context of the weight steps between two steps on the selection variables: one, or `inner_steps`.

    Attributes:
        selection: attached to `model`.
        factors: L pairs (lora_A (K, D), lora_B (O, K)).
    """

    selection: Selection
    factors: Sequence[tuple[nn.Parameter, nn.Parameter]]

    def replayed_alpha_gradient(self, weights: Sequence[Tensor]) -> Tensor:
        """Gradient (L, K) with respect to alpha of this step's training loss at `weights`, seen through the
        same dropout masks; the generators are left as they were. Not averaged over processes."""
        total = torch.zeros_like(self.selection.current)
        for done in self.passes:
            with self.preserved_random_state():
                done.random.restore()
                loss = self.loss_at(weights, done.batch)
            total += torch.autograd.grad(loss, self.selection.current)[0]
        return total

    def validation_gradients(self, with_weights: bool) -> tuple[Tensor, list[Tensor]]:
        """Gradients of the validation loss at W_hat: with respect to alpha (L, K), and to each weight if
        asked.

        Raises:
            UserError: the loss does not depend on alpha.
        """
        self.selection.track()
        loss = self.validation_loss(self.model, self.validation)
        inputs = [self.selection.current, *(self.parameters if with_weights else [])]
        direct, *v = mean_over_processes(gradients(loss, inputs, [self.selection.current]))
        return direct, v

    def pull_back(self, v: Sequence[Tensor]) -> list[Tensor]:
        """J^T v through the one step, optimizer and clipping."""
        return self._taken().back(v).direction


def gradients(loss: Tensor, inputs: Sequence[Tensor], asked: Sequence[Tensor]) -> list[Tensor]:
    """Gradient with respect to each of `inputs`, zeros where the loss does not depend on it.

    Raises:
        UserError: it depends on none of `asked`, which are among the inputs: zeros would pass for a result.
    """
    nothing = [None] * len(inputs)
    found = torch.autograd.grad(loss, inputs, allow_unused=True) if loss.requires_grad else nothing
    wanted = {id(one) for one in asked}
    require_reached(any(g is not None and id(x) in wanted for x, g in zip(inputs, found, strict=True)))
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def require_reached(reached: bool) -> None:
    """Raises UserError unless a gradient came as far as the LoRA layers."""
    require(
        reached,
        "no gradient of the loss reaches the LoRA layers: there is nothing to learn about them",
        "let the loss depend on them, and no layer or loss function of the model cut gradients off",
    )


def mean_over_processes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Average each tensor over the processes of a distributed run, in one message."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return list(tensors)
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat / dist.get_world_size(), [t.numel() for t in tensors])
    return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]
