"""Data to text: a record as a prompt, its description as what follows, scored by the protocol that the task names.

With an encoder-decoder one half reads the record, the other writes its description. The record is then a text of its
own, framed as the model's tokenizer frames texts; so is the description, which always ends with the end of text. The
writing half is taught with the tokens before each label (teacher forcing), the first after the model's own start token.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.task import IGNORED, GenerationTask, Scorer
from autolora_bench.data.cache import cached_dataset
from autolora_bench.data.schema import TaskData
from autolora_bench.data.splits import limit
from autolora_bench.metrics.generation.e2e import score_e2e
from autolora_bench.metrics.generation.webnlg import WebnlgProtocol, pad_references, score_webnlg
from autolora_bench.metrics.registry import own_metrics, whole_of, with_own
from autolora_bench.metrics.scores import MetricScores
from autolora_bench.models.load import HeadKind, HeadSpec, special_frame
from autolora_bench.tasks.base import Batch, EvaluationContext, Result, Splits
from autolora_bench.tasks.encode import TRUNCATED, tokenizer_fingerprint
from autolora_bench.tasks.generation.beam import BLANK_LINE
from autolora_bench.tasks.generation.decode import decode
from autolora_bench.tasks.generation.encode import Encoder, padded, training_batch

TRAIN = "train"


@dataclass(frozen=True)
class Generation:
    """A record of fields -> text. Every reference is a training example; a record is decoded once."""

    config: GenerationTask
    unlimited: bool = field(default=False, kw_only=True)
    """Whether the model reads and writes texts of any length."""

    def prepare(self, data: TaskData, tokenizer: PreTrainedTokenizerBase) -> Splits:
        """Training examples with labels on the reference alone, and prompts with their references.

        Raises:
            UserError: a prompt that is too long, or a tokenizer without an end of text.
        """
        encoder = self.encoder(tokenizer)
        encoded = {name: self._encode(encoder, name, split, data) for name, split in data.splits.items()}
        train = encoded.pop(TRAIN)
        notes = [
            f"texts: {self.config.protocol.name}, {self.config.protocol.value}",
            f"records: {self.config.serialization.name}, {self.config.serialization.value}",
            f"{TRAIN}: {len(train)} references of {len(data.splits[TRAIN])} records, each an example",
        ]
        parted = sum(
            BLANK_LINE in text.strip() for texts in data.splits[TRAIN]["references"] for text in texts
        )
        if parted and self.config.decoding.blank_line_ends:
            notes.append(
                f"{parted} references hold a blank line, where outputs end: task.decoding.blank_line_ends=false"
            )
        truncated = {TRAIN: sum(train[TRUNCATED]), **dict.fromkeys(encoded, 0)}
        return Splits(train.remove_columns(TRUNCATED), encoded, truncated, notes)

    def encoder(self, tokenizer: PreTrainedTokenizerBase) -> Encoder:
        """Record and description one after the other."""
        return Encoder(self.config, tokenizer, self.unlimited)

    def _encode(self, encoder: Encoder, name: str, split: Dataset, data: TaskData) -> Dataset:
        parts = {
            "fingerprint": data.fingerprint,
            "split": name,
            "rows": str(len(split)),
            "tokenizer": tokenizer_fingerprint(encoder.tokenizer),
            "generation": f"{self.config.serialization.name} {self.config.protocol.name} {encoder.context} "
            f"{encoder.separator} {encoder.end}",
            **({} if encoder.form == Encoder.form else {"form": encoder.form}),
        }
        encode = encoder.examples if name == TRAIN else encoder.prompts
        return cached_dataset(parts, lambda: encode(split, name))

    def head(self) -> HeadSpec:
        """The language model's own."""
        return HeadSpec(HeadKind.language_model)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
        """Pads at the end, whatever side the tokenizer is used to."""
        return lambda examples: training_batch(examples, int(tokenizer.pad_token_id))

    def evaluate(self, model: nn.Module, split: Dataset, context: EvaluationContext) -> Result:
        """Decode and score; the predictions are each record's text and output.

        After an epoch only `epoch_records` records are decoded, always the same ones, and metrics that need Java are
        left out unless one is the headline; the note says so.
        """
        chosen = split if context.final else limit(split, self.config.epoch_records, None)
        metrics = self.config.metrics if context.final else quick_metrics(self.config)
        outputs = decode(model, list(chosen["input_ids"]), self.config.decoding, context)
        scores = score_outputs(outputs, chosen, self.config, metrics)
        predictions = [
            {"record": text, "output": output} for text, output in zip(chosen["text"], outputs, strict=True)
        ]
        note = self._note(len(chosen), len(split), metrics)
        return Result(scores, len(chosen), predictions, list(chosen["references"]), note=note)

    def _note(self, decoded: int, records: int, metrics: Sequence[str]) -> str | None:
        left_out = [name for name in self.config.metrics if name not in metrics]
        parts = [f"{decoded} of {records} records"] if decoded < records else []
        parts += [f"without {', '.join(left_out)}"] if left_out else []
        return f"after an epoch: {'; '.join(parts)}" if parts else None

    def stratify_column(self) -> str | None:
        """Texts have no classes to balance."""
        return None


WITH_JAVA = ("meteor", "rouge_l", "cider")
"""Metrics of E2E's and WebNLG's protocols that start a Java virtual machine."""


def score_outputs(
    outputs: Sequence[str], split: Dataset, task: GenerationTask, metrics: Sequence[str]
) -> MetricScores:
    """Scores, official and by the user's own metrics, of one output per record of `split` (`references`, `category`).

    WebNLG's are of all records, and where the task names seen categories also of seen and unseen ones: whoever asks
    for `ter/seen` gets `ter` with all its parts.
    """
    official = list(dict.fromkeys(whole_of(n) for n in metrics if n not in own_metrics(metrics)))
    references = [list(texts) for texts in split["references"]]
    return with_own(_official(outputs, references, split, task, official), metrics, outputs, references)


def _official(
    outputs: Sequence[str],
    references: list[list[str]],
    split: Dataset,
    task: GenerationTask,
    metrics: Sequence[str],
) -> MetricScores:
    if task.scorer is Scorer.e2e:
        return score_e2e(outputs, references, metrics=metrics)
    protocol = WebnlgProtocol.GENERATION_EVAL
    return score_webnlg(
        outputs,
        [pad_references(texts, protocol) for texts in references],
        list(split["category"]) if task.seen_categories else None,
        protocol,
        metrics,
        seen=task.seen_categories,
    )


def quick_metrics(task: GenerationTask) -> list[str]:
    """The headline, and every metric that starts no Java: what is computed after an epoch."""
    return [name for name in task.metrics if name == task.metrics[0] or whole_of(name) not in WITH_JAVA]


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

    def excess(self, tokens: int) -> str | None:
        """What is wrong with a record of so many tokens, if anything: its description has room of its own."""
        return "is longer than" if tokens > self.context else None

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
        return PairEncoder(self.config, tokenizer, self.unlimited)

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
