"""Dropout of 16 random bits an element drops the share it should, evenly, and differentiates as dropout does."""

import pytest
import torch
from scipy.stats import binom, chi2
from torch import nn

from autolora_bench.speedups.dropout import PARTS, Dropout, drawn_in_parts, dropout

SIZE = 200_000


def within(count: float, trials: int, p: float) -> bool:
    """Whether a count is one that chance gives all but once in a million."""
    low, high = binom.interval(1 - 1e-6, trials, p)
    return bool(low <= count <= high)


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_the_share_and_the_scale_are_those_of_dropout(p: float) -> None:
    torch.manual_seed(0)
    found = dropout(torch.ones(SIZE), p)
    assert within(int((found == 0).sum()), SIZE, p)
    torch.testing.assert_close(found.unique(), torch.tensor([0.0, 1 / (1 - p)]), rtol=2e-4, atol=0)


def test_the_four_elements_of_a_draw_are_independent() -> None:
    torch.manual_seed(1)
    dropped = (dropout(torch.ones(SIZE), 0.5) == 0).view(-1, 4).long()
    patterns = torch.bincount((dropped * torch.tensor([8, 4, 2, 1])).sum(-1), minlength=16).double()
    expected = SIZE / 4 / 16
    assert float(((patterns - expected) ** 2 / expected).sum()) < chi2.ppf(1 - 1e-6, 15)


def test_masks_come_from_torchs_generator() -> None:
    torch.manual_seed(2)
    state = torch.get_rng_state()
    first, second = dropout(torch.ones(64), 0.5), dropout(torch.ones(64), 0.5)
    torch.set_rng_state(state)
    assert torch.equal(dropout(torch.ones(64), 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_and_type(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    found = dropout(torch.ones(shape, dtype=dtype), 0.25)
    assert found.shape == shape
    assert found.dtype is dtype
    assert set(found.float().flatten().tolist()) <= {0.0, float(torch.tensor(4 / 3, dtype=dtype).float())}


def test_gradients_of_first_and_second_order_have_the_same_mask() -> None:
    torch.manual_seed(3)
    inputs = torch.randn(50, 8, dtype=torch.float64).T.requires_grad_()
    outputs = dropout(inputs, 0.25)
    factors = (outputs / inputs).detach()
    (first,) = torch.autograd.grad(outputs.pow(3).sum(), inputs, create_graph=True)
    torch.testing.assert_close(first, 3 * factors**3 * inputs**2)
    (second,) = torch.autograd.grad(first.sum(), inputs)
    torch.testing.assert_close(second, 6 * factors**3 * inputs)


@pytest.mark.parametrize("p", [0.0, 1.0, 0.4 / PARTS, 1 - 0.4 / PARTS])
def test_shares_beyond_sixteen_bits_are_torchs_own(p: float) -> None:
    torch.manual_seed(4)
    expected = nn.functional.dropout(torch.ones(100), p)
    torch.manual_seed(4)
    assert torch.equal(dropout(torch.ones(100), p), expected)


def test_layers_are_exchanged_and_put_back() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5, inplace=True), nn.AlphaDropout(0.5))
    with drawn_in_parts(model):
        assert [type(layer) for layer in model] == [Dropout, nn.Dropout, nn.AlphaDropout]
        assert torch.equal(model[0].eval()(torch.ones(9)), torch.ones(9))
        assert 0.0 in model[0].train()(torch.ones(99))
    assert [type(layer) for layer in model] == [nn.Dropout, nn.Dropout, nn.AlphaDropout]
