"""A causal language model as beam search uses it: one token per row at a time, keys and values remembered."""

import inspect
from typing import Any

import torch
from torch import Tensor


class StepModel:
    """Feeds prompts, then one token per row, and follows rows as beams are chosen.

    Positions count tokens, not padding, so that a prompt gives the same output whatever it is batched with.

    Args:
        model: a causal language model of transformers.
        mask: (B, T) of the prompts, which are padded at the front.
    """

    def __init__(self, model: Any, mask: Tensor) -> None:
        self.model = model
        self.mask = mask
        self.cache: Any = None
        self.accepted = inspect.signature(model.forward).parameters

    def first(self, prompts: Tensor) -> Tensor:
        """(B, T) prompts -> (B, V) logits of the first generated token."""
        positions = (self.mask.cumsum(dim=-1) - 1).clamp(min=0)
        return self._run(prompts, positions)

    def next(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """(rows, V) logits after `tokens` (rows, 1), each of which continues the former row `rows` (rows,)."""
        self.cache.reorder_cache(rows)
        mask = self.mask[rows]
        self.mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=-1)
        return self._run(tokens, self.mask.sum(dim=-1, keepdim=True) - 1)

    def _run(self, tokens: Tensor, positions: Tensor) -> Tensor:
        optional = {"position_ids": positions, "logits_to_keep": 1}
        outputs = self.model(
            input_ids=tokens,
            attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
            **{name: value for name, value in optional.items() if name in self.accepted},
        )
        self.cache = outputs.past_key_values
        logits: Tensor = outputs.logits[:, -1].float()
        return logits
