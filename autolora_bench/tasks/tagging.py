"""Named entities and the like: one tag per word, read off the word's first sub-word."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from datasets import Dataset
from torch import nn
from transformers import DataCollatorForTokenClassification, PreTrainedTokenizerBase

from autolora_bench.config.task import IGNORED, LongSentences, TaggingTask
from autolora_bench.data.schema import TaskData, tag_names
from autolora_bench.metrics.registry import with_own
from autolora_bench.metrics.tagging import score_tagging
from autolora_bench.models.load import HeadKind, HeadSpec
from autolora_bench.tasks.base import DIGITS, Batch, EvaluationContext, Result, Splits
from autolora_bench.tasks.encode_words import LONG, encode_words
from autolora_bench.tasks.inference import logits

OUTSIDE = 0
"""Index of the tag O."""


@dataclass(frozen=True)
class Tagging:
    """One tag per word.

    Every word is predicted once: in the window that shows most of its context, and as O where a truncated sentence
    or a tokenizer that drops characters shows nothing of it.
    """

    config: TaggingTask

    def prepare(self, data: TaskData, tokenizer: PreTrainedTokenizerBase) -> Splits:
        """Windows of at most max_length tokens; training examples are windows, evaluation examples sentences."""
        encoded = {
            name: encode_words(
                split,
                tokenizer,
                self.config,
                {"fingerprint": data.fingerprint, "split": name, "rows": str(len(split))},
            )
            for name, split in data.splits.items()
        }
        long = {name: sum(split[LONG]) for name, split in encoded.items()}
        train = _training_windows(encoded.pop("train"))
        if self.config.long is LongSentences.truncate:
            return Splits(train, encoded, long)
        notes = [
            f"{name}: {count} sentences longer than {self.config.max_length} tokens read in windows"
            for name, count in long.items()
            if count
        ]
        return Splits(train, encoded, dict.fromkeys(long, 0), notes)

    def head(self) -> HeadSpec:
        """One output per tag."""
        return HeadSpec(HeadKind.tokens, tuple(tag_names(self.config)))

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
        """Pads inputs to the longest of the batch, labels with -100."""
        collate = DataCollatorForTokenClassification(tokenizer, label_pad_token_id=IGNORED)
        return lambda examples: collate([dict(example) for example in examples])

    def evaluate(self, model: nn.Module, split: Dataset, context: EvaluationContext) -> Result:
        """Entity scores over all types and per type; the predictions are one list of tags per sentence."""
        names = tag_names(self.config)
        windows = [window for window in chain.from_iterable(split["input_ids"]) if window]
        flat = Dataset.from_dict({"input_ids": windows, "attention_mask": [[1] * len(w) for w in windows]})
        outputs = logits(model, flat, self.collator(context.tokenizer), context)
        found = iter(output.softmax(dim=-1).max(dim=-1) for output in outputs)
        predictions: list[list[str]] = []
        probabilities: list[list[float | None]] = []
        for tags, words in zip(split["tags"], split["words"], strict=True):
            sentence = [names[OUTSIDE]] * len(tags)
            sure: list[float | None] = [None] * len(tags)
            for heads in filter(None, words):  # a model cannot read a window without tokens
                most, tagged = next(found)
                for word, tag, value in zip(heads, tagged.tolist(), most.tolist(), strict=True):
                    if word >= 0:
                        sentence[word], sure[word] = names[tag], round(value, DIGITS)
            predictions.append(sentence)
            probabilities.append(sure)
        labels = [[names[tag] for tag in tags] for tags in split["tags"]]
        scores = with_own(score_tagging(predictions, labels), self.config.metrics, predictions, labels)
        return Result(scores, len(split), predictions, labels, probabilities)

    def stratify_column(self) -> str | None:
        """Sentences have no classes to balance."""
        return None


def _training_windows(sentences: Dataset) -> Dataset:
    """One row per window: its tokens, and the tag of each word that counts there at its first sub-word.

    A window without such a word is left out, as of a sentence of which the tokenizer shows nothing: a batch of them
    alone would have a mean loss over no label.
    """
    rows: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for ids, words, tags in zip(sentences["input_ids"], sentences["words"], sentences["tags"], strict=True):
        shown = [place for place, window in enumerate(words) if any(word >= 0 for word in window)]
        rows["input_ids"] += [ids[place] for place in shown]
        rows["attention_mask"] += [[1] * len(ids[place]) for place in shown]
        rows["labels"] += [[tags[word] if word >= 0 else IGNORED for word in words[place]] for place in shown]
    return Dataset.from_dict(rows)
