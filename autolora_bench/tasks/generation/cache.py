"""Keys and values of beams: where rows change places and grow by a token at every step.

transformers' own layers copy everything twice a step, once to reorder and once to append, and under autocast keep
single precision that attention converts anew each time. Here it is one copy, in the type that attention multiplies in:
the same numbers, for the conversion of a part is the part of the conversion.

Shapes: R rows, H heads, L tokens, D head size.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer


class BeamLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values (R, H, L, D) of one layer; a reordering waits for the next token."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values = as_multiplied(keys), as_multiplied(values)
        self.dtype, self.device = self.keys.dtype, self.keys.device
        self.is_initialized = True
        self.rows: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append (R, H, l, D), after the reordering that waits; all keys and values."""
        rows, self.rows = self.rows, None
        self.keys, self.values = grown(self.keys, key_states, rows), grown(self.values, value_states, rows)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i continues the former row beam_idx[i]."""
        self.rows = beam_idx if self.rows is None else self.rows[beam_idx]


def follow_beams(cache: Any) -> None:
    """Let the layers of a cache that has read the prompts follow beams; sliding windows and other kinds stay."""
    cache.layers = [_following(layer) for layer in cache.layers]


def _following(layer: Any) -> Any:
    plain = type(layer) is DynamicLayer and layer.keys is not None and layer.values is not None
    return BeamLayer(layer.keys, layer.values) if plain else layer


def as_multiplied(states: Tensor) -> Tensor:
    """In the type that attention multiplies in: autocast's where it is on."""
    kind = states.device.type
    return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states


def grown(states: Tensor, new: Tensor, rows: Tensor | None) -> Tensor:
    """Rows of `states` (., H, L, D) with `new` (R, H, l, D) behind them; all rows as they are where `rows` is None."""
    new = as_multiplied(new)
    if rows is None:
        return torch.cat([states, new], dim=-2)
    _, heads, length, size = states.shape
    found = states.new_empty(len(rows), heads, length + new.shape[-2], size)
    torch.index_select(states, 0, rows, out=found[:, :, :length])
    found[:, :, length:] = new
    return found
