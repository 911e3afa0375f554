"""Batches of prompts or training examples of different lengths."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autolora_bench.models.labels import IGNORED


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
