"""Every token of a batch is laid out once, among texts of nearly its own text's length."""

import pytest
import torch
from torch import Tensor

from autolora_bench.speedups.layout import SHORTEST, computed_tokens, layout_of


def mask_of(lengths: list[int], most: int) -> Tensor:
    return (torch.arange(most) < torch.tensor(lengths)[:, None]).long()


@pytest.mark.parametrize("in_front", [False, True])
@pytest.mark.parametrize("lengths", [[9, 3, 8, 12, 1, 5], [12, 1], [30, 28, 29, 2], list(range(1, 41))])
def test_every_token_has_one_place_and_hardly_any_padding_has(lengths: list[int], in_front: bool) -> None:
    mask = mask_of(lengths, max(lengths))
    mask = mask.flip(1) if in_front else mask
    layout = layout_of(mask, in_front)
    assert layout is not None
    places = layout.tokens.tolist()
    assert len(set(places)) == len(places)
    real = mask.flatten().nonzero().flatten().tolist()
    assert set(real) <= set(places)
    assert computed_tokens(mask, in_front) == len(places) <= len(real) / SHORTEST
    assert sorted(torch.cat([bucket.texts for bucket in layout.buckets]).tolist()) == list(
        range(len(lengths))
    )
    end = 0
    for bucket in layout.buckets:
        texts, length = bucket.shape
        assert bucket.places == slice(end, end := end + texts * length)
        own = [lengths[text] for text in bucket.texts]
        assert max(own) == length
        assert min(own) >= SHORTEST * length
        rows = layout.tokens[bucket.places].view(texts, length)
        assert torch.equal(rows % mask.shape[1], torch.arange(mask.shape[1])[bucket.columns].expand_as(rows))


def test_unpadded_and_padded_again_tokens_stand_where_they_stood() -> None:
    mask = mask_of([4, 7, 1], 7)
    layout = layout_of(mask)
    assert layout is not None
    states = torch.randn(3, 7, 5, requires_grad=True)
    unpadded = layout.unpad(states)
    torch.testing.assert_close(unpadded[0, :7], states[1])  # the longest comes first
    torch.testing.assert_close(unpadded[0, 7:11], states[0, :4])
    restored = layout.pad(unpadded)
    torch.testing.assert_close(restored, states * mask[..., None])
    (gradient,) = torch.autograd.grad(restored.sum(), states)
    torch.testing.assert_close(gradient, mask[..., None].expand_as(states).float())
    shared = torch.arange(7.0).view(1, 7, 1)
    torch.testing.assert_close(layout.unpad(shared)[0, 7:11, 0], torch.arange(4.0))


@pytest.mark.parametrize(
    "mask",
    [
        mask_of([4, 4], 4),
        mask_of([4, 0, 2], 4),
        torch.tensor([[1, 0, 1], [1, 1, 1]]),
        torch.cat([mask_of([4, 2], 4), mask_of([1, 1], 4).flip(1)]),
    ],
    ids=["no padding", "an empty text", "a hole", "both sides"],
)
@pytest.mark.parametrize("in_front", [False, True])
def test_where_nothing_can_be_left_out_there_is_no_layout(mask: Tensor, in_front: bool) -> None:
    assert layout_of(mask, in_front) is None
    assert computed_tokens(mask, in_front) == mask.numel()


def test_padding_in_front_is_left_out_only_where_it_may_be_there() -> None:
    mask = mask_of([4, 2], 4).flip(1)
    assert layout_of(mask) is None
    assert computed_tokens(mask) == 8
    assert computed_tokens(mask, in_front=True) == 6
