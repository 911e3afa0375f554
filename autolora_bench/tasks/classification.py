"""Sentence and sentence-pair tasks: one label, or one number."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from autolora_bench.config.task import ClassificationTask, RegressionTask
from autolora_bench.config.validate import check_texts
from autolora_bench.data.schema import TaskData
from autolora_bench.metrics.classification import score_classification
from autolora_bench.metrics.registry import own_metrics, with_own
from autolora_bench.models.load import HeadKind, HeadSpec
from autolora_bench.tasks.base import DIGITS, Batch, EvaluationContext, Result, Splits
from autolora_bench.tasks.encode import (
    JOINED,
    counted,
    encode_texts,
    separates_pairs,
    without_tokens,
)
from autolora_bench.tasks.inference import logits


@dataclass(frozen=True)
class SentenceTask:
    """What classification and regression share."""

    config: ClassificationTask | RegressionTask

    def prepare(self, data: TaskData, tokenizer: PreTrainedTokenizerBase) -> Splits:
        """Tokenise every split; longer inputs are truncated and counted, those without a token noted.

        Raises:
            UserError: more texts than two, a tokenizer that gives none a token, or max_length leaves no room for one.
        """
        check_texts(self.config)
        encoded = {
            name: encode_texts(
                split,
                self.config.texts,
                tokenizer,
                self.config.max_length,
                {"fingerprint": data.fingerprint, "split": name, "rows": str(len(split))},
            )
            for name, split in data.splits.items()
        }
        plain, truncated = counted(encoded)
        joined = len(self.config.texts) > 1 and not separates_pairs(tokenizer)
        notes = [*([JOINED] if joined else []), *without_tokens(encoded, tokenizer)]
        return Splits(plain.pop("train"), plain, truncated, notes)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
        """Pads to the longest example of the batch."""
        return lambda examples: DataCollatorWithPadding(tokenizer)([dict(example) for example in examples])

    def evaluate(self, model: nn.Module, split: Dataset, context: EvaluationContext) -> Result:
        """Scores of every example; the predictions are label names or numbers."""
        outputs = self.outputs(model, split, context)
        predictions = self.predictions(outputs)
        labels, names = split["labels"][:], self.config.metrics
        official = [name for name in names if name not in own_metrics(names)]
        readable = self.readable(predictions)
        scores = score_classification(predictions, labels, official)
        gold = self.readable(labels)
        scores = with_own(scores, names, readable, gold)
        return Result(scores, len(split), readable, gold, self.probabilities(outputs))

    def outputs(self, model: nn.Module, split: Dataset, context: EvaluationContext) -> torch.Tensor:
        """(examples, outputs) of the model, from which the predictions follow: the head's logits."""
        return torch.stack(logits(model, split, self.collator(context.tokenizer), context))

    def predictions(self, outputs: torch.Tensor) -> list[Any]:
        """(examples, outputs) logits -> one value per example, as the metrics take it."""
        raise NotImplementedError

    def readable(self, predictions: list[Any]) -> list[Any]:
        """Predictions as a reader knows them."""
        return predictions

    def probabilities(self, outputs: torch.Tensor) -> list[float] | None:
        """(examples, outputs) logits -> the probability of each prediction, if it has one."""
        return None


def largest_probabilities(outputs: torch.Tensor) -> list[float]:
    """(examples, labels) logits -> the probability of the most likely label of each example, among all labels."""
    return [round(float(value), DIGITS) for value in outputs.softmax(dim=-1).amax(dim=-1)]


@dataclass(frozen=True)
class Classification(SentenceTask):
    """One of several labels."""

    config: ClassificationTask

    def head(self) -> HeadSpec:
        """One output per label."""
        return HeadSpec(HeadKind.sequence, tuple(self.config.labels))

    def predictions(self, outputs: torch.Tensor) -> list[int]:
        """Index of the largest logit."""
        return [int(index) for index in outputs.argmax(dim=-1)]

    def readable(self, predictions: list[int]) -> list[str]:
        """Label names."""
        return [self.config.labels[index] for index in predictions]

    def probabilities(self, outputs: torch.Tensor) -> list[float]:
        """Of the label that is predicted."""
        return largest_probabilities(outputs)

    def stratify_column(self) -> str | None:
        """Both halves of the search see every label equally often."""
        return "labels"


@dataclass(frozen=True)
class Regression(SentenceTask):
    """One number; the loss is the mean squared error."""

    config: RegressionTask

    def head(self) -> HeadSpec:
        """A single output."""
        return HeadSpec(HeadKind.sequence, ("score",), regression=True)

    def predictions(self, outputs: torch.Tensor) -> list[float]:
        """The output itself, not clipped."""
        return [float(value) for value in outputs[:, 0]]

    def stratify_column(self) -> str | None:
        """Numbers have no classes to balance."""
        return None
