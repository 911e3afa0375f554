"""A language model as beam search uses it: one token per row at a time, keys and values remembered."""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from autolora_bench.models.virtual import VirtualTokens, encode
from autolora_bench.tasks.generation.beam_attention import Beams, beam_attention, can_share


class StepModel:
    """Feeds prompts, then one token per row, and follows rows as beams are chosen.

    Positions count tokens, not padding, so that a prompt gives the same output whatever it is batched with.

    Args:
        model: a causal language model of transformers.
        mask: (B, T) of the prompts, which are padded at the front.
        virtual: V tokens that are read before every prompt, and before its padding.
    """

    def __init__(self, model: Any, mask: Tensor, virtual: VirtualTokens | None = None) -> None:
        self.model = model
        self.virtual = virtual or VirtualTokens(0)
        self.mask = torch.cat([mask.new_ones(len(mask), self.virtual.count), mask], dim=-1)
        self.beams = Beams(self.mask) if can_share(model) else None
        self.cache: Any = None
        self.accepted = inspect.signature(model.forward).parameters

    def first(self, prompts: Tensor) -> Tensor:
        """(B, T) prompts -> (B, V) logits of the first generated token."""
        positions = (self.mask.cumsum(dim=-1) - 1).clamp(min=0)
        if self.virtual.embeddings is not None:
            read = self.model.get_input_embeddings()(prompts)
            before = self.virtual.embeddings.to(read.dtype).expand(len(prompts), -1, -1)
            logits = self._run({"inputs_embeds": torch.cat([before, read], dim=1)}, positions)
        else:
            self.cache = None if self.virtual.cache is None else self.virtual.cache(len(prompts))
            logits = self._run({"input_ids": prompts}, positions[:, self.virtual.count :])
        if self.beams is not None and not self.beams.take_over(self.cache):
            self.beams = None
        return logits

    def next(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """(rows, V) logits after `tokens` (rows, 1), each of which continues the former row `rows` (rows,)."""
        self.cache.reorder_cache(rows)
        if self.beams is not None:
            self.beams.follow(rows)
        mask = self.mask[rows]
        self.mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=-1)
        return self._run({"input_ids": tokens}, self.mask.sum(dim=-1, keepdim=True) - 1)

    def _run(self, inputs: dict[str, Tensor], positions: Tensor) -> Tensor:
        optional = {"position_ids": positions, "logits_to_keep": 1}
        with beam_attention(self.beams) as more:
            outputs = self.model(
                **inputs,
                attention_mask=self.mask,
                past_key_values=self.cache,
                use_cache=True,
                **more,
                **{name: value for name, value in optional.items() if name in self.accepted},
            )
        self.cache = outputs.past_key_values
        logits: Tensor = outputs.logits[:, -1]
        return logits


class EncoderDecoderStep:
    """The same of an encoder-decoder: each prompt is encoded once, and its states are read by every row.

    Args:
        model: of transformers.
        mask: (B, T) of the prompts, which are padded at the end: the model may count positions from the front.
        virtual: V tokens that are read before every prompt, or before every output.
    """

    def __init__(self, model: Any, mask: Tensor, virtual: VirtualTokens | None = None) -> None:
        self.model = model
        self.mask = mask
        self.virtual = virtual
        self.states: Any = None
        self.cache: Any = None

    def first(self, prompts: Tensor) -> Tensor:
        """(B, T) prompts -> (B, V) logits of the first generated token."""
        self.states, self.mask = encode(self.model, prompts, self.mask, self.virtual)
        if self.virtual is not None and self.virtual.cache is not None:
            self.cache = self.virtual.cache(len(prompts))
        start = self.model.config.decoder_start_token_id
        return self._run(prompts.new_full((len(prompts), 1), start))

    def next(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """(rows, V) logits after `tokens` (rows, 1), each of which continues the former row `rows` (rows,)."""
        self.cache.reorder_cache(rows)
        self.mask, self.states = self.mask[rows], self.states[rows]
        return self._run(tokens)

    def _run(self, tokens: Tensor) -> Tensor:
        outputs = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self.states),
            attention_mask=self.mask,
            decoder_input_ids=tokens,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = outputs.past_key_values
        logits: Tensor = outputs.logits[:, -1]
        return logits
