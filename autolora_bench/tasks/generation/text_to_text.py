"""Data to text with an encoder-decoder: one half reads the record, the other writes its description.

The record is a text of its own, framed as the model's tokenizer frames texts; so is the description, which always ends
with the end of text. The writing half is taught with the tokens before each label (teacher forcing), the first after
the model's own start token.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from autolora_bench.models.labels import IGNORED
from autolora_bench.models.load import HeadKind, HeadSpec
from autolora_bench.tasks.base import Batch
from autolora_bench.tasks.encode import special_frame
from autolora_bench.tasks.generation.collate import padded
from autolora_bench.tasks.generation.encode import Encoder
from autolora_bench.tasks.generation.task import Generation


@dataclass(frozen=True)
class PairEncoder(Encoder):
    """Encodes record and description apart; each may have as many tokens as the task's max_length."""

    form: ClassVar[str] = "text to text"

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """The tokens before and after a text, the end of text last."""
        before, after = special_frame(self.tokenizer)
        return before, after if after[-1:] == [self.end] else [*after, self.end]

    def framed(self, ids: Sequence[int]) -> list[int]:
        """The record's tokens as the model reads them."""
        before, after = special_frame(self.tokenizer)
        return [*before, *ids, *after]

    def example(self, prompt: list[int], target: list[int]) -> tuple[list[int], list[int], bool]:
        """What the encoder reads, what the decoder learns to write, and whether that was cut."""
        before, after = self.frame
        labels = [*before, *target, *after]
        return prompt, labels[: self.context], len(labels) > self.context


@dataclass(frozen=True)
class TextToText(Generation):
    """A record of fields -> text, by an encoder-decoder."""

    start: int
    """The token that the decoder begins with."""

    def encoder(self, tokenizer: PreTrainedTokenizerBase) -> Encoder:
        """Record and description apart."""
        return PairEncoder(self.config, tokenizer)

    def head(self) -> HeadSpec:
        """The model's own, of both halves."""
        return HeadSpec(HeadKind.text_to_text)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
        """Pads records and descriptions at the end."""
        return lambda examples: pair_batch(examples, int(tokenizer.pad_token_id), self.start)


def pair_batch(examples: Sequence[Mapping[str, Any]], padding: int, start: int) -> dict[str, Tensor]:
    """Records (B, T) with their mask; labels (B, S) with -100 at padding, and the tokens before them."""
    inputs, mask = padded([example["input_ids"] for example in examples], padding)
    labels, _ = padded([example["labels"] for example in examples], IGNORED)
    before = torch.cat([labels.new_full((len(labels), 1), start), labels[:, :-1]], dim=1)
    before = before.masked_fill(before == IGNORED, padding)
    return {"input_ids": inputs, "attention_mask": mask, "labels": labels, "decoder_input_ids": before}
