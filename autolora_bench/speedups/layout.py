"""How the tokens of a batch are laid end to end, so that hardly any padding is left, and where they enter a model.

Shapes: B texts, T tokens of the longest, N tokens laid end to end.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autolora_bench.config.architectures import DECODERS

SHORTEST = 7 / 8
"""Texts share a bucket down to this part of the longest one: padding them costs less than a bucket of their own."""


@dataclass(frozen=True)
class Bucket:
    """Texts of nearly equal lengths, padded to the longest of them, in consecutive places."""

    texts: Tensor
    """(n,), their places in the batch."""
    columns: slice
    """The L of the T columns that hold the tokens of all of them."""
    places: slice
    """n * L of the N places: the first text's tokens, then the second's."""

    @property
    def shape(self) -> tuple[int, int]:
        """n and L."""
        return len(self.texts), self.columns.stop - self.columns.start


@dataclass(frozen=True)
class Layout:
    """Where every token of a padded batch (B, T) goes."""

    shape: tuple[int, int]
    buckets: tuple[Bucket, ...]
    tokens: Tensor
    """(N,), places in the batch of B * T tokens."""

    def unpad(self, padded: Tensor) -> Tensor:
        """(B or 1, T, ...) -> (1, N, ...)."""
        rest = padded.shape[2:]
        return padded.expand(*self.shape, *rest).reshape(-1, *rest)[self.tokens].unsqueeze(0)

    def pad(self, unpadded: Tensor) -> Tensor:
        """(1, N, ...) -> (B, T, ...), zeros where padding was left out."""
        rest = unpadded.shape[2:]
        padded = unpadded.new_zeros(self.shape[0] * self.shape[1], *rest)
        return padded.index_copy(0, self.tokens, unpadded[0]).view(*self.shape, *rest)


def layout_of(mask: Tensor, in_front: bool = False) -> Layout | None:
    """Of a mask (B, T), 0 for padding; none where there is none to leave out, a text has no token, or not all padding
    is behind the texts, or all of it in front of them if it may be there."""
    batch, most = mask.shape
    real, columns = mask.bool(), torch.arange(most, device=mask.device)
    lengths = real.sum(-1)
    behind = torch.equal(real, columns < lengths[:, None])
    before = in_front and torch.equal(real, columns >= most - lengths[:, None])
    ordered, order = lengths.sort(descending=True, stable=True)
    if not (behind or before) or not ordered[-1]:
        return None
    buckets, tokens, begin = [], [], 0
    for first, last, length in _runs(ordered.tolist()):
        texts, start = order[first:last], 0 if behind else most - length
        size = len(texts) * length
        buckets.append(Bucket(texts, slice(start, start + length), slice(begin, begin + size)))
        tokens.append((texts[:, None] * most + columns[start : start + length]).flatten())
        begin += size
    return Layout((batch, most), tuple(buckets), torch.cat(tokens)) if begin < batch * most else None


def computed_tokens(mask: Tensor, in_front: bool = False) -> int:
    """How many tokens of a padded batch with this mask (B, T) are computed where padding is left out."""
    layout = layout_of(mask, in_front)
    return mask.numel() if layout is None else len(layout.tokens)


def _runs(lengths: list[int]) -> list[tuple[int, int, int]]:
    """First, after the last, and longest of each run of descending lengths that share a bucket."""
    starts = [0]
    for place, length in enumerate(lengths):
        if length < SHORTEST * lengths[starts[-1]]:
            starts.append(place)
    ends = [*starts[1:], len(lengths)]
    return [(start, end, lengths[start]) for start, end in zip(starts, ends, strict=True)]


def transformer(model: nn.Module) -> PreTrainedModel:
    """The model of transformers, task's head included, that `model` is or has within."""
    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))


def may_pad_in_front(model: nn.Module) -> bool:
    """Whether nothing reads a batch's first column where that is padding: the classifier of an encoder does."""
    return transformer(model).config.model_type in DECODERS


def entries(model: nn.Module) -> list[nn.Module]:
    """`model`, and within it every model of transformers, the outer ones first.

    Some of PEFT's models call the `forward` of the model within, past its hooks; others change a batch before they do.
    """
    return [model, *(m for m in model.modules() if isinstance(m, PreTrainedModel) and m is not model)]
