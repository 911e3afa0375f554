"""Every token of a batch is laid out once, among texts of nearly its own text's length."""

import pytest
import torch
from torch import Tensor

from autolora_bench.kernels.layout import SHORTEST, layout_of


def mask_of(lengths: list[int], most: int) -> Tensor:
    return (torch.arange(most) < torch.tensor(lengths)[:, None]).long()


@pytest.mark.parametrize(
    "lengths", [[9, 3, 8, 12, 1, 5], [12, 1], [30, 28, 29, 2], list(range(1, 41)), [5, 0, 2]]
)
def test_every_token_has_one_place_and_hardly_any_padding_has(lengths: list[int]) -> None:
    mask = mask_of(lengths, max(lengths))
    layout = layout_of(mask)
    assert layout is not None
    places = layout.tokens.tolist()
    assert len(set(places)) == len(places)
    real = mask.flatten().nonzero().flatten().tolist()
    assert set(real) <= set(places)
    assert len(places) - lengths.count(0) <= len(real) / SHORTEST
    assert sorted(torch.cat([block.texts for block in layout.blocks]).tolist()) == list(range(len(lengths)))
    end = 0
    for block in layout.blocks:
        assert block.places == slice(end, end := end + len(block.texts) * block.length)
        own = [lengths[text] for text in block.texts]
        assert max(own) == block.length or max(own) == 0
        assert min(own) >= SHORTEST * max(own)


def test_laid_out_and_restored_tokens_stand_where_they_stood() -> None:
    mask = mask_of([4, 7, 1], 7)
    layout = layout_of(mask)
    assert layout is not None
    states = torch.randn(3, 7, 5, requires_grad=True)
    laid = layout.lay_out(states)
    torch.testing.assert_close(laid[0, :7], states[1])  # the longest comes first
    torch.testing.assert_close(laid[0, 7:11], states[0, :4])
    restored = layout.restore(laid)
    torch.testing.assert_close(restored, states * mask[..., None])
    (gradient,) = torch.autograd.grad(restored.sum(), states)
    torch.testing.assert_close(gradient, mask[..., None].expand_as(states).float())
    shared = torch.arange(7.0).view(1, 7, 1)
    torch.testing.assert_close(layout.lay_out(shared)[0, 7:11, 0], torch.arange(4.0))


@pytest.mark.parametrize(
    "mask", [mask_of([4, 4], 4), mask_of([4, 2], 4).flip(1), torch.tensor([[1, 0, 1], [1, 1, 1]])]
)
def test_where_nothing_can_be_left_out_there_is_no_layout(mask: Tensor) -> None:
    assert layout_of(mask) is None
