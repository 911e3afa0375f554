"""Attention of beams: what the rows of a prompt share is kept once and multiplied once for all of them.

transformers' own layers keep the prompt's keys and values once for every beam and copy all of them twice a step, to
reorder and to append. Here each row adds what it generated itself, and a step copies that, once.

While a step runs `forward` stands in for PyTorch's attention in transformers' registry. While the prompts are read it
is PyTorch's, and takes down what each layer asked for; from then on, where `Beams` has taken the layers over, it is
`attend`: what scaled_dot_product_attention computes, up to rounding, with scores and their softmax in single precision
at least. For a query of one token, batched products take a third of the time of PyTorch's fused kernel on a CPU.

Shapes: B prompts, T prompt tokens, R rows, K rows of one prompt at most, H heads of keys and values, t generated
tokens, D head size, G queries a head, A = H G heads of queries, X anything.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from autolora_bench.models.attention import PYTORCH, attention_replaced


class Spare:
    """Memory that one layer leaves for the next: to get fresh memory takes longer than the copy into it."""

    def __init__(self) -> None:
        self.left: Tensor | None = None

    def exchange(self, states: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Uninitialised memory of this shape; `states` may be read until the next exchange, which may give it away."""
        given, self.left = self.left, states
        elements = math.prod(shape)
        if (
            given is None
            or (given.dtype, given.device) != (states.dtype, states.device)
            or given.untyped_storage().nbytes() < elements * given.element_size()
        ):
            given = states.new_empty(2 * elements)
        return given.resize_(shape)


class BeamLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer: `prompt_keys` (B, H, T, D), and of what was generated `keys` (R, H, t, D).

    Keys are in single precision at least, for scores lose too much in less. A reordering waits for the next token.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, spare_keys: Spare, spare_values: Spare) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.prompt_keys, self.prompt_values = as_scored(keys), values
        self.keys, self.values = none_yet(self.prompt_keys), none_yet(values)
        self.spare_keys, self.spare_values = spare_keys, spare_values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self.rows: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append (R, H, 1, D), after the reordering that waits; keys and values of what was generated.

        What the last call returned is lost.
        """
        rows = torch.arange(len(self.keys), device=self.device) if self.rows is None else self.rows
        self.rows = None
        self.keys = grown(self.keys, as_scored(key_states), rows, self.spare_keys)
        self.values = grown(self.values, value_states, rows, self.spare_values)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i continues the former row beam_idx[i]."""
        self.rows = beam_idx if self.rows is None else self.rows[beam_idx]

    def get_seq_length(self) -> int:
        """Tokens of a row, its prompt's among them."""
        return self.prompt_keys.shape[-2] + self.keys.shape[-2]

    def keep_prompts(self, kept: Tensor) -> None:
        """Drop the prompts that no row continues."""
        self.prompt_keys, self.prompt_values = self.prompt_keys[kept], self.prompt_values[kept]


class Beams:
    """Which prompt every row continues, for all layers.

    Args:
        mask: (B, T) of the prompts, 0 for padding.
    """

    def __init__(self, mask: Tensor) -> None:
        self.bias = torch.zeros(len(mask), 1, 1, mask.shape[-1], device=mask.device)
        """(B, 1, 1, T) minus infinity for padding, added to the scores."""
        self.bias.masked_fill_(mask[:, None, None] == 0, -torch.inf)
        self.prompts = torch.arange(len(mask), device=mask.device)
        """(R,) the prompt of each row."""
        self.places = torch.zeros_like(self.prompts)
        """(R,) which of its prompt's rows each is."""
        self.width = 1
        """K."""
        self.noted: dict[int | None, tuple[Tensor, Tensor, Tensor | None]] = {}
        """By a layer's number the keys, values and mask with which it read the prompts."""
        self.layers: dict[int, BeamLayer] = {}

    def note(self, number: int | None, keys: Tensor, values: Tensor, mask: Tensor | None) -> None:
        """What a layer's attention was called with, where it asked for nothing else."""
        self.noted[number] = keys, values, mask

    def take_over(self, cache: Any) -> bool:
        """Replace the layers of a cache that has read the prompts: all or none. Whether it did.

        They stay where one forgets tokens or is on another device, or where an attention was not noted, or took other
        keys and values than the cache's or another mask than all: it would have to make its own again.
        """
        usual = self.noted.keys() == set(range(len(cache.layers))) and all(
            type(layer) is DynamicLayer
            and layer.device == self.bias.device
            and self.noted[number][0] is layer.keys
            and self.noted[number][1] is layer.values
            and self.noted[number][2] is self.noted[0][2]
            for number, layer in enumerate(cache.layers)
        )
        usual = usual and self._masks_padding_alone(self.noted[0][2])
        if usual:
            spares = Spare(), Spare()
            cache.layers = [BeamLayer(layer.keys, layer.values, *spares) for layer in cache.layers]
            self.layers = dict(enumerate(cache.layers))
        self.noted = {}
        return usual

    def _masks_padding_alone(self, mask: Tensor | None) -> bool:
        """Whether the last prompt token sees what the next tokens shall see; `mask` is (B or 1, 1, ., T)."""
        seen = self.bias[:, :, 0] == 0
        if mask is None:
            return bool(seen.all())
        return mask.dtype is torch.bool and bool((mask[:, :, -1] == seen).all())

    def follow(self, rows: Tensor) -> None:
        """Row i continues the former row rows[i]; prompts that no row continues are dropped."""
        kept, self.prompts = torch.unique(self.prompts[rows], return_inverse=True)
        same = self.prompts.unsqueeze(0) == self.prompts.unsqueeze(1)
        self.places = same.tril(-1).sum(dim=-1)
        self.width = int(self.places.max()) + 1
        if len(kept) < len(self.bias):
            self.bias = self.bias[kept]
            for layer in self.layers.values():
                layer.keep_prompts(kept)

    def by_prompt(self, rows: Tensor) -> Tensor:
        """(R, H, G, X) -> (B, H, K G, X), with zeros where a prompt has fewer rows than others."""
        _, heads, group, size = rows.shape
        found = rows.new_zeros(len(self.bias), heads, self.width, group, size)
        found[self.prompts, :, self.places] = rows
        return found.flatten(2, 3)

    def by_row(self, prompts: Tensor) -> Tensor:
        """(B, H, K G, X) -> (R, H, G, X)."""
        return torch.unflatten(prompts, 2, (self.width, -1))[self.prompts, :, self.places]


def forgets_nothing(config: Any) -> bool:
    """Whether every layer of a model with this configuration remembers all tokens."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def as_scored(keys: Tensor) -> Tensor:
    """In the type that scores are computed in."""
    return keys.to(torch.promote_types(keys.dtype, torch.float32))


def none_yet(states: Tensor) -> Tensor:
    """(B, H, T, D) -> (B, H, 0, D)."""
    batch, heads, _, size = states.shape
    return states.new_empty(batch, heads, 0, size)


def grown(states: Tensor, new: Tensor, rows: Tensor, spare: Spare) -> Tensor:
    """(R, H, t + 1, D) `rows` of `states` with `new` (R, H, 1, D) behind them; `states` becomes the spare memory."""
    _, heads, length, size = states.shape
    found = spare.exchange(states, (len(rows), heads, length + 1, size))
    kept = found[:, :, :length]
    if states.device.type == "cpu":
        torch.index_select(states, 0, rows, out=kept)
    else:  # operations of accelerators have written wrongly into memory with gaps
        kept.copy_(states[rows])
    found[:, :, length:] = new
    return found


HARMLESS = {"is_causal", "position_ids", "use_cache"}
"""Arguments of an attention that change nothing for a query of one token."""


def can_share(model: Any) -> bool:
    """Whether a model's layers may attend as beams do: by PyTorch's attention, called with whatever the model was
    called with, and to all tokens. Which do is seen while the prompts are read."""
    backend = model.config._attn_implementation == PYTORCH and model._supports_attention_backend
    return bool(backend) and forgets_nothing(model.config)


@contextmanager
def beam_attention(beams: Beams | None) -> Iterator[dict[str, Beams]]:
    """Within this context attention is that of `beams`, for a model that is called with what this yields besides.

    A model that is called without has its usual attention.
    """
    if beams is None:
        yield {}
        return
    with attention_replaced(forward):
        yield {"beams": beams}


def forward(
    usual: Any,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    beams: Beams | None = None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, Any]:
    """(R, A, ., D) queries -> (R, ., A, D), as transformers calls an attention; `usual` is its own."""
    number = getattr(module, "layer_idx", None)
    if beams is not None and number in beams.layers:
        return attend(query, beams.layers[number], beams, scaling), None
    if beams is not None and not any(_asks(others[name]) for name in others.keys() - HARMLESS):
        beams.note(number, key, value, attention_mask)
    outputs: tuple[Tensor, Any] = usual(module, query, key, value, attention_mask, scaling=scaling, **others)
    return outputs


def _asks(value: Any) -> bool:
    return isinstance(value, Tensor) or bool(value)


def attend(query: Tensor, layer: BeamLayer, beams: Beams, scaling: float | None) -> Tensor:
    """(R, A, 1, D) -> (R, 1, A, D)."""
    size = query.shape[-1]
    scale = size**-0.5 if scaling is None else scaling
    with torch.autocast(query.device.type, enabled=False):
        asked = query.reshape(len(query), layer.keys.shape[1], -1, size).to(layer.keys.dtype) * scale
        read = beams.by_prompt(asked) @ layer.prompt_keys.transpose(-1, -2) + beams.bias
        scores = torch.cat([beams.by_row(read), asked @ layer.keys.transpose(-1, -2)], dim=-1)
        weights = scores.softmax(dim=-1).to(layer.values.dtype)
        read, own = torch.split(weights, [beams.bias.shape[-1], layer.keys.shape[-2]], dim=-1)
        outputs: Tensor = beams.by_row(beams.by_prompt(read) @ layer.prompt_values) + own @ layer.values
    return outputs.reshape(len(query), 1, -1, outputs.shape[-1])
