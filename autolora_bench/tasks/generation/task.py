"""Data to text: a record as a prompt, its description as what follows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase

from autolora_bench.config.task import GenerationTask
from autolora_bench.data.cache import cached_dataset
from autolora_bench.data.schema import TaskData
from autolora_bench.data.splits import limit
from autolora_bench.models.load import HeadKind, HeadSpec
from autolora_bench.tasks.base import Batch, EvaluationContext, Result, Splits
from autolora_bench.tasks.encode import TRUNCATED, tokenizer_fingerprint
from autolora_bench.tasks.generation.collate import training_batch
from autolora_bench.tasks.generation.decode import decode
from autolora_bench.tasks.generation.encode import Encoder
from autolora_bench.tasks.generation.scores import quick_metrics, score_outputs

TRAIN = "train"


@dataclass(frozen=True)
class Generation:
    """A record of fields -> text. Every reference is a training example; a record is decoded once."""

    config: GenerationTask

    def prepare(self, data: TaskData, tokenizer: PreTrainedTokenizerBase) -> Splits:
        """Training examples with labels on the reference alone, and prompts with their references.

        Raises:
            UserError: a prompt that leaves no room for a text, or a tokenizer without an end of text.
        """
        encoder = self.encoder(tokenizer)
        encoded = {name: self._encode(encoder, name, split, data) for name, split in data.splits.items()}
        train = encoded.pop(TRAIN)
        notes = [
            f"texts: {self.config.protocol.name}, {self.config.protocol.value}",
            f"records: {self.config.serialization.name}, {self.config.serialization.value}",
            f"{TRAIN}: {len(train)} references of {len(data.splits[TRAIN])} records, each an example",
        ]
        truncated = {TRAIN: sum(train[TRUNCATED]), **dict.fromkeys(encoded, 0)}
        return Splits(train.remove_columns(TRUNCATED), encoded, truncated, notes)

    def encoder(self, tokenizer: PreTrainedTokenizerBase) -> Encoder:
        """Record and description one after the other."""
        return Encoder(self.config, tokenizer)

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
