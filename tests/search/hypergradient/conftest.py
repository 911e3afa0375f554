"""The bilevel problem that every estimator is tried on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from autolora_bench.search import Hypergradient, InnerStep, Terms, attach, lora_factors, selection_for
from autolora_bench.search.hypergradient.step import RandomState

OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "adamw": lambda w: torch.optim.AdamW(w, lr=1e-2, weight_decay=0.1),
    "adamw_fused": lambda w: torch.optim.AdamW(w, lr=1e-2, weight_decay=0.1, fused=True),
    "sgd": lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
}


class Problem:
    """Two micro-batches for each inner step, one validation batch, a real optimizer, and L_val(W_hat(beta), beta) as
    a function."""

    def __init__(
        self,
        toys: Any,
        model: PeftModel,
        optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
        constraint: str = "softmax",
        max_grad_norm: float = 0.0,
        warm: int = 0,
        inner_steps: int = 1,
    ) -> None:
        self.toys = toys
        self.model = model
        budget = 4.0 if constraint == "topk" else None
        self.selection = selection_for(model, constraint, budget=budget).double()
        self.selection.beta.data += 0.3 * torch.randn(
            self.selection.beta.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64
        )
        self.selection.refresh()
        attach(model, self.selection)
        self.weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimizer = optimizer(list(self.weights.values()))
        self.max_grad_norm = max_grad_norm
        self.validation = self.toys.examples(3)
        self.inner_steps = 1
        for i in range(warm):
            self.micro = [[self.toys.examples(10 + 2 * i), self.toys.examples(11 + 2 * i)]]
            self._move(self.new_step())
        self.inner_steps = inner_steps
        first = 8 + 2 * warm if warm else 1  # with warm steps the batches of the last of them, again
        firsts = [first, *range(50, 48 + 2 * inner_steps, 2)]
        self.micro = [[self.toys.examples(i), self.toys.examples(i + 1)] for i in firsts]
        self.start = self._snapshot()

    def new_step(self) -> InnerStep:
        return InnerStep(
            model=self.model,
            selection=self.selection,
            optimizer=self.optimizer,
            weights=self.weights,
            factors=lora_factors(self.model),
            training_loss=lambda model, batch: self.toys.loss(model, batch) / 2,
            validation_loss=self.toys.loss,
            validation=self.validation,
            max_grad_norm=self.max_grad_norm,
            remember=True,
            inner_steps=self.inner_steps,
        )

    def terms(self, estimator: Hypergradient, step: InnerStep | None = None) -> Terms:
        """The estimator's terms at the starting point, through its own hooks."""
        self._restore()
        step = step or self.new_step()
        self._move(step, estimator)
        return estimator.terms(step)

    def beta_gradient(self, estimator: Hypergradient) -> Tensor:
        return self.selection.pull_back(self.terms(estimator).total)

    def numerical(self, h: float = 1e-5) -> Tensor:
        """d L_val(W_hat(beta), beta) / d beta by central differences through the real optimizer step."""
        gradient = torch.zeros_like(self.selection.beta)
        for index in torch.cartesian_prod(*(torch.arange(n) for n in gradient.shape)).tolist():
            values = [self._value(tuple(index), sign * h) for sign in (1, -1)]
            gradient[tuple(index)] = (values[0] - values[1]) / (2 * h)
        return gradient

    def _value(self, index: tuple[int, ...], change: float) -> float:
        self._restore()
        with torch.no_grad():
            self.selection.beta[index] += change
        self.selection.refresh()
        self._move(self.new_step())
        with torch.no_grad():
            value = self.toys.loss(self.model, self.validation).item()
            self.selection.beta[index] -= change
        self.selection.refresh()
        return value

    def _move(self, step: InnerStep, estimator: Hypergradient | None = None) -> None:
        if estimator is not None:
            estimator.prepare(step)
        for number, batches in enumerate(self.micro, 1):
            self._weight_step(step, batches, estimator)
            if number < self.inner_steps:
                self._go_on(step, estimator)
        if estimator is None:
            self.optimizer.zero_grad()

    def _go_on(self, step: InnerStep, estimator: Hypergradient | None) -> None:
        step.advance()
        if estimator is not None:
            estimator.advance(step)
        self.optimizer.zero_grad()

    def _weight_step(self, step: InnerStep, batches: list[Any], estimator: Hypergradient | None) -> None:
        for batch in batches:
            step.record(batch)
            if estimator is None:
                step.loss(batch).backward()
            else:
                estimator.training_pass(step, batch)
        if self.max_grad_norm:
            step.gradient_norm = torch.nn.utils.clip_grad_norm_(step.parameters, self.max_grad_norm)
        self.optimizer.step()

    def _snapshot(self) -> tuple[Any, ...]:
        weights = [w.detach().clone() for w in self.weights.values()]
        state = {
            w: {k: v.clone() if isinstance(v, Tensor) else v for k, v in s.items()}
            for w, s in self.optimizer.state.items()
        }
        return weights, state, RandomState.capture(self.selection.beta.device)

    def _restore(self) -> None:
        weights, state, random = self.start
        with torch.no_grad():
            for w, value in zip(self.weights.values(), weights, strict=True):
                w.copy_(value)
        self.optimizer.state.clear()
        for w, s in state.items():
            self.optimizer.state[w] = {k: v.clone() if isinstance(v, Tensor) else v for k, v in s.items()}
        self.optimizer.zero_grad()
        random.restore()


@pytest.fixture(scope="session")
def problem(toys) -> Callable[..., Problem]:
    return partial(Problem, toys)


@pytest.fixture(scope="session")
def optimizers() -> dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]]:
    return OPTIMIZERS
