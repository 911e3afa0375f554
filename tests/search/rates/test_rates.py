"""Learnt rates: their gradient against numerical differentiation, and problems whose best rates are known."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autolora_bench.config.rates import Also, Granularity
from autolora_bench.errors import UserError
from autolora_bench.search.hypergradient.step import InnerLoop
from autolora_bench.search.rates import LayerRates, RateGradient, SharedMultiples

OPTIMIZERS: dict[str, Callable[[list[Any]], torch.optim.Optimizer]] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.3),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
}


class Case:
    """A LoRA's inner loop whose rates can be moved, run anew from the same weights, moments and masks."""

    def __init__(
        self, toys: Any, optimizer: str, inner_steps: int, granularity: Granularity, also: Sequence[Also] = ()
    ) -> None:
        self.toys, self.make, self.inner_steps = toys, OPTIMIZERS[optimizer], inner_steps
        self.model, self.warm = toys.model(r=2), (20, 21)
        self.rates, self.shared = LayerRates(self.model, granularity), SharedMultiples(self.model, also)
        self.weights = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.start = [w.detach().clone() for w in self.weights.values()]
        generator = torch.Generator().manual_seed(3)
        shape = self.rates.log.shape
        self.rates.log.data = 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
        self.said = torch.tensor([0.4, -0.3], dtype=torch.float64)[: len(also)]
        self.shared.log.data = self.said.clone()

    def run(self, gradient: RateGradient | None = None) -> Tensor:
        """Two warm steps with what all have, then the loop: the validation loss at its end, or its gradient."""
        torch.manual_seed(11)
        self._settle(torch.zeros_like(self.said))
        with torch.no_grad():
            for w, value in zip(self.weights.values(), self.start, strict=True):
                w.copy_(value)
        owned = {id(w) for members in self.rates.members for w in members}
        groups = [{"params": members} for members in self.rates.members]
        optimizer = self.make([*groups, {"params": [w for w in self.weights.values() if id(w) not in owned]}])
        for seed in self.warm:
            self._weight_step(self._loop(optimizer), seed, None)
        for group, multiple in zip(optimizer.param_groups, self.rates.multiples().flatten(), strict=False):
            group["lr"] *= float(multiple)
        self._settle(self.said)
        for group in optimizer.param_groups[: len(self.rates.members)]:
            group["weight_decay"] *= self.shared.of(Also.weight_decay)
        step = self._loop(optimizer)
        if gradient is not None:
            gradient.prepare(step)
        for seed in range(self.inner_steps):
            self._weight_step(step, seed, gradient)
            if seed < self.inner_steps - 1:
                step.advance()
                if gradient is not None:
                    gradient.advance(step)
        if gradient is not None:
            return gradient.gradient(step)
        with torch.no_grad():
            loss: Tensor = self.toys.loss(self.model, step.validation)
            return loss

    def numerical(self, h: float = 1e-5) -> Tensor:
        """By central differences of the whole loop."""
        found = []
        for log in (self.rates.log.data.view(-1), self.said):
            for index in range(log.numel()):
                values = []
                for sign in (1, -1):
                    log[index] += sign * h
                    values.append(self.run())
                    log[index] -= sign * h
                found.append((values[0] - values[1]) / (2 * h))
        return torch.stack(found)

    def _settle(self, log: Tensor) -> None:
        self.shared.log.data.copy_(log)
        self.shared.settle()

    def _loop(self, optimizer: torch.optim.Optimizer) -> InnerLoop:
        return InnerLoop(
            model=self.model,
            optimizer=optimizer,
            weights=self.weights,
            training_loss=self.toys.loss,
            validation_loss=self.toys.loss,
            validation=self.toys.examples(5),
            remember=True,
            inner_steps=self.inner_steps,
        )

    def _weight_step(self, step: InnerLoop, seed: int, gradient: RateGradient | None) -> None:
        step.optimizer.zero_grad()
        batch = self.toys.examples(seed)
        step.record(batch)
        if gradient is None:
            step.loss(batch).backward()
        else:
            gradient.training_pass(step, batch)
        step.optimizer.step()


@pytest.mark.parametrize(
    ("optimizer", "inner_steps", "granularity"),
    [
        ("adamw", 1, Granularity.layer),
        ("adamw", 2, Granularity.factor),
        ("adamw", 3, Granularity.layer),
        ("sgd", 3, Granularity.model),
        ("sgd", 2, Granularity.layer),
    ],
)
@pytest.mark.sample(keep=("adamw-1-Granularity.layer", "sgd-3-Granularity.model", "sgd-2-Granularity.layer"))
def test_the_gradient_is_the_numerical_one(toys, optimizer, inner_steps, granularity):
    case = Case(toys, optimizer, inner_steps, granularity)
    numerical = case.numerical()
    exact = case.run(RateGradient(case.rates.members, exact=True))
    assert toys.relative(exact, numerical) < 2e-5
    if optimizer == "adamw":
        near = case.run(RateGradient(case.rates.members, exact=False))
        assert toys.relative(near, numerical) < (2e-5 if inner_steps == 1 else 0.5)
        assert toys.cosine(near, numerical) > 0.95


@pytest.mark.parametrize("inner_steps", [1, 2, 3])
@pytest.mark.parametrize("also", [[Also.weight_decay], [Also.alpha], [Also.weight_decay, Also.alpha]])
@pytest.mark.sample(keep=("also2-3",))
def test_decay_and_alpha_have_the_numerical_gradient(toys, also, inner_steps):
    case = Case(toys, "adamw", inner_steps, Granularity.layer, also)
    numerical = case.numerical()
    exact = case.run(RateGradient(case.rates.members, True, case.shared))
    count = len(case.rates.members)
    assert toys.relative(exact, numerical) < 2e-5
    torch.testing.assert_close(exact[count:], numerical[count:], rtol=1e-4, atol=0)
    near = case.run(RateGradient(case.rates.members, False, case.shared))
    assert torch.equal(near[count:].sign(), numerical[count:].sign())
    if inner_steps == 1:
        rtol = 1e-4 if also == [Also.weight_decay] else 0.2
        torch.testing.assert_close(near[count:], numerical[count:], rtol=rtol, atol=0)


def test_without_b_nothing_of_alpha_is_left_out(toys):
    """At LoRA's start the curvature's part is <B, Hw> = 0: one step without it is exact."""
    case = Case(toys, "adamw", 1, Granularity.model, [Also.alpha])
    for weight, value in zip(case.weights.values(), case.start, strict=True):
        if any(weight is b for b in case.shared.second):
            value.zero_()
    case.warm = ()
    near = case.run(RateGradient(case.rates.members, False, case.shared))
    torch.testing.assert_close(near, case.numerical(), rtol=1e-4, atol=0)


def test_the_decay_of_sgd_is_not_known(toys):
    case = Case(toys, "sgd", 1, Granularity.layer, [Also.weight_decay])
    with pytest.raises(UserError, match="derivative of SGD with respect to its weight decay"):
        case.run(RateGradient(case.rates.members, True, case.shared))


class Quadratic(nn.Module):
    """Loss sum_l h_l w_l^2 / 2 of single weights: SGD with rate 1 / h_l is there in one step, whatever w."""

    def __init__(self, curvatures: Tensor) -> None:
        super().__init__()
        self.curvatures = curvatures
        self.w = nn.ParameterList([nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in curvatures])

    def forward(self) -> Tensor:
        return (self.curvatures * torch.stack(list(self.w)) ** 2).sum() / 2


@pytest.mark.parametrize(("inner_steps", "error"), [(1, 0.01), (2, 0.05)])
@pytest.mark.sample(keep=("1",))
def test_the_best_rates_of_a_quadratic_are_found(inner_steps, error):
    """With two steps the loss is of fourth order around the best rates, and the last per cent take long."""
    curvatures = torch.tensor([0.5, 1.0, 4.0, 20.0], dtype=torch.float64)
    model = Quadratic(curvatures)
    log = nn.Parameter(torch.full((4,), -3.0, dtype=torch.float64))
    outer = torch.optim.Adam([log], lr=0.05)
    optimizer = torch.optim.SGD([{"params": [w], "lr": 0.0} for w in model.w])
    gradient = RateGradient([[w] for w in model.w], exact=True)
    generator = torch.Generator().manual_seed(0)
    loss = lambda net, batch: net()  # noqa: E731
    for _ in range(400):
        for group, rate, w in zip(optimizer.param_groups, log.detach().exp().tolist(), model.w, strict=True):
            group["lr"] = rate
            w.data = 1 + torch.rand((), generator=generator, dtype=torch.float64)
        step = InnerLoop(
            model=model,
            optimizer=optimizer,
            weights=dict(model.named_parameters()),
            training_loss=loss,
            validation_loss=loss,
            remember=True,
            inner_steps=inner_steps,
        )
        gradient.prepare(step)
        for number in range(inner_steps):
            optimizer.zero_grad()
            step.record(None)
            gradient.training_pass(step, None)
            optimizer.step()
            if number < inner_steps - 1:
                step.advance()
                gradient.advance(step)
        log.grad = gradient.gradient(step)
        outer.step()
    torch.testing.assert_close(log.detach().exp(), 1 / curvatures, rtol=error, atol=0)
