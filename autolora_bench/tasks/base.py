"""What every task kind offers to the runner, and what the record keeps of it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.task import TaskConfig
from autolora_bench.data.schema import TaskData
from autolora_bench.metrics.scores import MetricScores
from autolora_bench.models.load import HeadSpec
from autolora_bench.record import Evaluation

Batch = dict[str, Any]

DIGITS = 4
"""Of a probability that is kept."""
PARTIAL = ".partial.jsonl"
"""Ending of files in EvaluationContext.folder that an interrupted evaluation goes on from."""


@dataclass(frozen=True)
class Splits:
    """Tokenised splits of a task."""

    train: Dataset
    held_out: dict[str, Dataset]
    """Evaluation and test splits by name."""
    truncated: dict[str, int] = field(default_factory=dict)
    """Split -> examples longer than the task's max_length."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the scores has to know about the examples' form."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else the record keeps of the data, as JSON."""
    answers: dict[str, list[int]] = field(default_factory=dict)
    """Every text that a label may be written as, where labels are, and its tokens."""


@dataclass(frozen=True)
class Result:
    """Scores of one split and what was predicted."""

    scores: MetricScores
    examples: int
    predictions: list[Any]
    """One JSON value per example, in the order of the split."""
    gold: list[Any] | None = None
    """What is right for each of them; None where an example has no right answer of its own."""
    probabilities: list[Any] | None = None
    """What the model gives each prediction, where it gives one."""
    note: str | None = None


def _silent(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class EvaluationContext:
    """What an evaluation may use beside the model and the split."""

    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    batch_size: int
    bf16: bool = False
    final: bool = True
    """False for the quick look after an epoch, which may score a part of the split and must then say so."""
    folder: Path | None = None
    """Where decoded outputs are kept between batches."""
    split: str = "split"
    """Name of the split, for files and messages."""
    progress: Callable[[int, int], None] = _silent
    """Called with (examples done, all) as a long evaluation goes on."""


class Task(Protocol):
    """A task kind with one task's configuration."""

    @property
    def config(self) -> TaskConfig:
        """The task's configuration."""

    def prepare(self, data: TaskData, tokenizer: PreTrainedTokenizerBase) -> Splits:
        """Tokenise every split."""

    def head(self) -> HeadSpec:
        """The head the model needs."""

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
        """Makes one padded batch of tokenised examples; labels under "labels"."""

    def evaluate(self, model: nn.Module, split: Dataset, context: EvaluationContext) -> Result:
        """Score one split, every example once."""

    def stratify_column(self) -> str | None:
        """Column whose values the two halves of the search share evenly, if there is one."""


def evaluation_of(phase: str, split: str, result: Result) -> Evaluation:
    """The record's entry, before the first step: a metric without a value is None there, and the note says why."""
    scores: dict[str, float | None] = {**result.scores.values, **dict.fromkeys(result.scores.missing)}
    reasons = [f"{name}: {why}" for name, why in result.scores.missing.items()]
    note = "; ".join(filter(None, [result.note, *reasons])) or None
    labels = result.gold if "accuracy" in scores and result.gold else []
    counts = Counter(label for label in labels if isinstance(label, str))
    largest = counts.most_common(1)[0][1] / len(labels) if counts else None
    return Evaluation(phase, split, 0.0, 0, scores, result.examples, note=note, largest_class=largest)
