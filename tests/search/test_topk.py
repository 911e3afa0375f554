"""The smooth top-k against other ways to compute it: Sinkhorn iterations, a solver, autograd through bisection."""

import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit
from torch import Tensor

from autolora_bench.search.selection import soft_top_k

SHAPES = [(1, 8, 4.0), (3, 8, 1.0), (2, 5, 4.5), (1, 288, 144.0), (4, 3, 0.25)]


def draw(groups: int, size: int, spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(groups * size)
    return spread * torch.randn(groups, size, generator=generator, dtype=torch.float64)


def sinkhorn(beta: Tensor, k: float, iterations: int = 3000) -> Tensor:
    """Xie et al. (2020): n numbers of mass 1/n carried to 0 and 1, which take (n - k)/n and k/n; costs (x - y)^2.

    The difference of the two costs is 2 beta - 1, so that with epsilon 2 the limit is sigmoid(beta + constant).
    """
    n = len(beta)
    costs = torch.stack([beta**2, (beta - 1) ** 2], dim=1)
    targets = torch.tensor([(n - k) / n, k / n], dtype=torch.float64).log()
    kernel = -costs / 2
    columns = torch.zeros(2, dtype=torch.float64)
    for _ in range(iterations):
        rows = -torch.logsumexp(kernel + columns, dim=1) - torch.log(torch.tensor(float(n)))
        columns = targets - torch.logsumexp(kernel + rows[:, None], dim=0)
    plan: Tensor = (kernel + rows[:, None] + columns).exp()
    return n * plan[:, 1]


def through_bisection(beta: Tensor, k: float) -> Tensor:
    """The same weights with plain operations: nu by bisection, then one Newton step that carries the gradient."""
    fixed = beta.detach()
    low, high = -fixed.max() - 50, -fixed.min() + 50
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if torch.sigmoid(fixed + middle).sum() < k else (low, middle)
    alpha = torch.sigmoid(beta + low)
    slope = (alpha * (1 - alpha)).sum().detach()
    return torch.sigmoid(beta + low - (alpha.sum() - k) / slope)


@pytest.mark.parametrize(("groups", "size", "k"), SHAPES)
@pytest.mark.parametrize("spread", [0.0, 0.01, 2.0, 300.0])
def test_weights_sum_to_the_budget_and_keep_the_order(groups, size, k, spread):
    beta = draw(groups, size, spread)
    alpha = soft_top_k(beta, k)
    torch.testing.assert_close(
        alpha.sum(dim=1), torch.full((groups,), k, dtype=torch.float64), rtol=1e-13, atol=0
    )
    assert ((alpha >= 0) & (alpha <= 1)).all()
    ordered = alpha.gather(1, beta.argsort(dim=1))
    assert (ordered.diff(dim=1) >= 0).all()
    if spread == 0:
        torch.testing.assert_close(alpha, torch.full_like(alpha, k / size))


@pytest.mark.parametrize(("groups", "size", "k"), SHAPES)
def test_equals_a_root_finder(groups, size, k):
    beta = draw(groups, size)
    for row, found in zip(beta.numpy(), soft_top_k(beta, k).numpy(), strict=True):
        nu = brentq(lambda x, row=row: expit(row + x).sum() - k, -60, 60, xtol=1e-15, rtol=1e-15)
        assert abs(expit(row + nu) - found).max() < 1e-12


@pytest.mark.parametrize(("groups", "size", "k"), SHAPES[:3])
@pytest.mark.sample(one_in=3)
def test_is_the_limit_of_sinkhorn_iterations(groups, size, k):
    beta = draw(groups, size)
    for row, found in zip(beta, soft_top_k(beta, k), strict=True):
        torch.testing.assert_close(found, sinkhorn(row, k), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("groups", "size", "k"), SHAPES)
def test_gradient_equals_autograd_through_bisection(groups, size, k):
    beta = draw(groups, size).requires_grad_()
    cotangent = torch.randn(groups, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(soft_top_k(beta, k), beta, cotangent)[0]
    rows = torch.stack([through_bisection(row, k) for row in beta])
    expected = torch.autograd.grad(rows, beta, cotangent)[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(found.sum(dim=1), torch.zeros(groups, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("groups", "size", "k"), SHAPES[:3])
def test_gradient_equals_finite_differences(groups, size, k):
    beta = draw(groups, size).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: soft_top_k(b, k), beta)


def test_far_apart_numbers_give_the_hard_top_k_and_a_finite_gradient():
    beta = torch.tensor([[0.0, 5e3, -1e4, 3e3, 1e3]], requires_grad=True)
    alpha = soft_top_k(beta, 2)
    assert alpha.tolist() == [[0.0, 1.0, 0.0, 1.0, 0.0]]
    assert not torch.autograd.grad(alpha, beta, torch.ones_like(beta))[0].any()


def test_single_precision_is_rounded_once():
    beta = draw(2, 300)
    found = soft_top_k(beta.float(), 100.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, soft_top_k(beta.float().double(), 100.0).float(), rtol=0, atol=0)
    assert float((found.double().sum(dim=1) - 100).abs().max()) < 1e-5
