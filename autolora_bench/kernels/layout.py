"""How a batch's tokens are laid end to end, so that hardly any padding is left.

Shapes: B texts, T tokens of the longest, N tokens laid end to end.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SHORTEST = 7 / 8
"""Texts share a block down to this part of the longest one: padding them costs less than a block of their own."""


@dataclass(frozen=True)
class Block:
    """Texts of nearly equal lengths, padded to the longest of them, in consecutive places."""

    texts: Tensor
    """(n,), their places in the batch."""
    length: int
    """L, of the longest."""
    places: slice
    """n * L of the N places: the first text's tokens, then the second's."""


@dataclass(frozen=True)
class Layout:
    """Where every token of a padded batch (B, T) goes."""

    shape: tuple[int, int]
    blocks: tuple[Block, ...]
    tokens: Tensor
    """(N,), places in the batch of B * T tokens."""

    def lay_out(self, padded: Tensor) -> Tensor:
        """(B or 1, T, ...) -> (1, N, ...)."""
        rest = padded.shape[2:]
        return padded.expand(*self.shape, *rest).reshape(-1, *rest)[self.tokens].unsqueeze(0)

    def restore(self, laid: Tensor) -> Tensor:
        """(1, N, ...) -> (B, T, ...), zeros where padding was left out."""
        rest = laid.shape[2:]
        padded = laid.new_zeros(self.shape[0] * self.shape[1], *rest)
        return padded.index_copy(0, self.tokens, laid[0]).view(*self.shape, *rest)


def layout_of(mask: Tensor) -> Layout | None:
    """Of a mask (B, T), 0 for padding; none where padding is not at the end, or none can be left out."""
    batch, most = mask.shape
    lengths = mask.sum(-1)
    if not torch.equal(mask.bool(), torch.arange(most, device=mask.device) < lengths[:, None]):
        return None
    ordered, order = lengths.sort(descending=True, stable=True)
    blocks, tokens, begin = [], [], 0
    for first, last in _runs(ordered.tolist()):
        texts, length = order[first:last], max(1, int(ordered[first]))
        blocks.append(Block(texts, length, slice(begin, begin + len(texts) * length)))
        tokens.append((texts[:, None] * most + torch.arange(length, device=mask.device)).flatten())
        begin += len(texts) * length
    return Layout((batch, most), tuple(blocks), torch.cat(tokens)) if begin < batch * most else None


def computed(mask: Tensor) -> int:
    """How many tokens of a padded batch with this mask (B, T) are computed where padding is left out."""
    layout = layout_of(mask)
    return mask.numel() if layout is None else len(layout.tokens)


def _runs(lengths: list[int]) -> list[tuple[int, int]]:
    """First and after the last of each run of descending lengths that share a block."""
    starts = [0]
    for place, length in enumerate(lengths):
        if length < SHORTEST * lengths[starts[-1]]:
            starts.append(place)
    return list(zip(starts, [*starts[1:], len(lengths)], strict=True))
