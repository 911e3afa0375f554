"""The diagonal Jacobian of the optimizer's step, against autograd through steps written out by hand."""

import pytest
import torch
from torch import Tensor

from autolora_bench.search.hypergradient.jacobian import OptimizerStep, step_diagonal, unclip

OPTIONS = {"lr": 3e-3, "betas": (0.9, 0.99), "eps": 1e-6}


def adam_update(g: Tensor, past: list[Tensor], lr: float, betas: tuple[float, float], eps: float) -> Tensor:
    """What Adam subtracts from the weights after gradients `past` and then g: Kingma & Ba, algorithm 1."""
    m = v = torch.zeros_like(g)
    for gradient in [*past, g]:
        m = betas[0] * m + (1 - betas[0]) * gradient
        v = betas[1] * v + (1 - betas[1]) * gradient**2
    t = len(past) + 1
    return lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + eps)


def after_steps(
    make, gradients: list[list[Tensor]]
) -> tuple[torch.optim.Optimizer, list[torch.nn.Parameter]]:
    weights = [torch.nn.Parameter(torch.randn_like(g)) for g in gradients[0]]
    optimizer = make(weights)
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    return optimizer, weights


def pulled_back(optimizer: torch.optim.Optimizer, weights: list, v: list[Tensor]) -> list[Tensor]:
    return OptimizerStep.taken(optimizer, weights).back(v).direction


def draw(steps: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5,)]
    return [[torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes] for _ in range(steps)]


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("fused", [False, True])
def test_adamw_equals_autograd(steps, fused):
    gradients = draw(steps)
    optimizer, weights = after_steps(
        lambda w: torch.optim.AdamW(w, **OPTIONS, weight_decay=0.3, fused=fused), gradients
    )
    v = [torch.randn_like(w) for w in weights]
    for i, pulled in enumerate(pulled_back(optimizer, weights, v)):
        g = gradients[-1][i].clone().requires_grad_()
        update = adam_update(g, [step[i] for step in gradients[:-1]], **OPTIONS)
        expected = torch.autograd.grad(update, g, v[i])[0]
        torch.testing.assert_close(pulled, expected, rtol=1e-11, atol=1e-16)


def test_zero_gradient_gives_no_nan():
    optimizer, weights = after_steps(
        lambda w: torch.optim.AdamW(w, lr=1e-3), [[torch.zeros(3), torch.tensor([1e-30, 0.0])]]
    )
    assert step_diagonal(optimizer, optimizer.param_groups[0], weights).isfinite().all()


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_equals_autograd(nesterov):
    gradients = draw(3)
    optimizer, weights = after_steps(
        lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.2), gradients
    )
    v = [torch.ones_like(w) for w in weights]
    expected = 0.1 * (1 + 0.9 if nesterov else 1)
    assert all(torch.allclose(p, torch.full_like(p, expected)) for p in pulled_back(optimizer, weights, v))


def test_unmoved_weights_have_no_jacobian():
    weights = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.AdamW(weights)
    for size in (1.0, 3.0):
        weights[0].grad = torch.full((2,), size)
        optimizer.step()
    moved, unmoved = pulled_back(optimizer, weights, [torch.ones(2), torch.ones(2)])
    assert moved.abs().sum() > 0
    assert not unmoved.any()


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clipping_equals_autograd(limit):
    gradients = [torch.randn(3, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64)]
    w = [torch.randn_like(g) for g in gradients]

    def clip(*raw: Tensor) -> tuple[Tensor, ...]:
        norm = torch.cat([g.reshape(-1) for g in raw]).norm()
        return tuple(g * (limit / (norm + 1e-6)).clamp(max=1) for g in raw)

    _, expected = torch.autograd.functional.vjp(clip, tuple(gradients), tuple(w))
    raw = torch.cat([g.reshape(-1) for g in gradients])
    clipped = torch.nn.Parameter(torch.zeros_like(raw))
    clipped.grad = raw.clone()
    norm = torch.nn.utils.clip_grad_norm_(clipped, limit)
    pulled, found = unclip(torch.cat([x.reshape(-1) for x in w]), clipped.grad, norm, limit)
    torch.testing.assert_close(pulled, torch.cat([e.reshape(-1) for e in expected]), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found, raw)
