"""Prompts and references as tokens, and batches of them; what the loss counts is decided here, example by example.

A training example is `prompt separator reference end`: the separator is the model's begin-of-text token (GPT-2's is
also its end-of-text), as in microsoft/LoRA@c4593f0, create_datasets.sh. Labels are the reference's tokens and the
end, -100 elsewhere. Padding never touches them, so that the end is learnt even where padding has the same token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.task import IGNORED, GenerationTask
from autolora_bench.errors import UserError
from autolora_bench.models.load import special_frame
from autolora_bench.models.locate import TOKENIZER_SETTINGS
from autolora_bench.tasks.encode import TRUNCATED, end_of_text
from autolora_bench.tasks.generation.records import serialize, target_text

SHOWN = 60
"""Characters of a record that an error message shows."""


@dataclass(frozen=True)
class Encoder:
    """Encodes the records of one task for one tokenizer."""

    task: GenerationTask
    tokenizer: PreTrainedTokenizerBase
    unlimited: bool = False
    """Whether the model has no limit of its own: its tokenizer's then says nothing about it."""

    form: ClassVar[str] = "continuation"
    """What the ids are for: part of the key under which they are kept."""

    @cached_property
    def context(self) -> int:
        """Most tokens of a training example: the task's limit or the tokenizer's."""
        most = self.task.max_length
        return most if self.unlimited else int(min(most, self.tokenizer.model_max_length))

    @cached_property
    def end(self) -> int:
        """The end-of-text token. Raises UserError where there is none."""
        return end_of_text(self.tokenizer)

    @cached_property
    def separator(self) -> int:
        """The token between record and reference."""
        begin = self.tokenizer.bos_token_id
        return self.end if begin is None else int(begin)

    def prompts(self, split: Dataset, name: str) -> Dataset:
        """One row per record: `input_ids`, and the record's `references`, `category` and `text`.

        Raises:
            UserError: a prompt is too long.
        """

        def encode(examples: Mapping[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
            return {
                "input_ids": self._prompts(examples, rows, name),
                "references": [[words(r) for r in references] for references in examples["references"]],
            }

        words = target_text(self.task)
        return split.map(encode, batched=True, with_indices=True, remove_columns=["fields"])

    def examples(self, split: Dataset, name: str) -> Dataset:
        """One row per reference: `input_ids`, `attention_mask`, `labels`, and `truncated`.

        Raises:
            UserError: a prompt is too long.
        """

        def encode(examples: Mapping[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
            found: dict[str, list[Any]] = {
                n: [] for n in ("input_ids", "attention_mask", "labels", TRUNCATED)
            }
            for prompt, references in zip(
                self._prompts(examples, rows, name), examples["references"], strict=True
            ):
                for target in self._ids([f" {words(reference)}" for reference in references]):
                    inputs, labels, cut = self.example(prompt, target)
                    found["input_ids"].append(inputs)
                    found["attention_mask"].append([1] * len(inputs))
                    found["labels"].append(labels)
                    found[TRUNCATED].append(cut)
            return found

        words = target_text(self.task)
        return split.map(encode, batched=True, with_indices=True, remove_columns=split.column_names)

    def framed(self, ids: Sequence[int]) -> list[int]:
        """A prompt of a record's tokens, up to where the model's own text begins."""
        before, _ = special_frame(self.tokenizer)
        return [*before, *ids, self.separator]

    def example(self, prompt: list[int], target: list[int]) -> tuple[list[int], list[int], bool]:
        """Inputs and labels of a training example of a prompt and a reference's tokens, and whether it was cut."""
        kept = [*target, self.end][: self.context - len(prompt)]
        return prompt + kept, [IGNORED] * len(prompt) + kept, len(kept) <= len(target)

    def excess(self, tokens: int) -> str | None:
        """What is wrong with a prompt of so many tokens, if anything: a reference is to follow it."""
        return "leaves no room for a text within" if tokens >= self.context else None

    def _prompts(self, examples: Mapping[str, list[Any]], rows: list[int], name: str) -> list[list[int]]:
        texts = [
            serialize(fields, text, self.task)
            for fields, text in zip(examples["fields"], examples["text"], strict=True)
        ]
        prompts = [self.framed(ids) for ids in self._ids(texts)]
        for row, text, prompt in zip(rows, texts, prompts, strict=True):
            wrong = self.excess(len(prompt))
            if wrong is not None:
                shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
                limit, where = self._limit()
                raise UserError(
                    f"{name}, record {row} ({shown}): its prompt of {len(prompt)} tokens {wrong} {self.context}, "
                    f"which is {limit}{where}",
                    f"raise {limit} as far as the model allows, or leave the record out",
                )
        return prompts

    def _limit(self) -> tuple[str, str]:
        """What `context` is: its name, and where that is said if not in the settings."""
        if self.context < self.task.max_length:
            return "model_max_length", f" in {TOKENIZER_SETTINGS} beside the model's weights"
        return "task.max_length", ""

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        return ids


def training_batch(examples: Sequence[Mapping[str, Any]], padding: int) -> dict[str, Tensor]:
    """Padded at the end: tokens with `padding`, masks with 0, labels with -100."""
    fill = {"input_ids": padding, "attention_mask": 0, "labels": IGNORED}
    width = max(len(example["input_ids"]) for example in examples)
    return {
        name: torch.tensor([[*e[name], *[value] * (width - len(e[name]))] for e in examples])
        for name, value in fill.items()
    }


def padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Tokens and attention mask (B, T), padded at the end."""
    width = max(len(row) for row in rows)
    tokens = [[*row, *[padding] * (width - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return torch.tensor(tokens), torch.tensor(mask)


def prompt_batch(prompts: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Tokens and attention mask (B, T), padded at the front, so that every prompt ends in the last column."""
    width = max(len(prompt) for prompt in prompts)
    tokens = [[*[padding] * (width - len(prompt)), *prompt] for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(tokens), torch.tensor(mask)
