"""Sentence tasks with an encoder-decoder: one half reads the example, the other is taught to write its label.

A label is predicted by rank classification: the text among the task's own that the model finds most likely, with its
end. An answer is therefore always a label, and the likelihoods, normalised over the labels, are its probability.
T5's own evaluation decodes a text instead, and counts one that is no label as wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from autolora_bench.config.label_texts import answers, nearest_answer, question
from autolora_bench.config.task import ClassificationTask, RegressionTask
from autolora_bench.data.cache import cached_dataset
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError
from autolora_bench.models.load import HeadKind, HeadSpec
from autolora_bench.models.merged import merged
from autolora_bench.models.virtual import VirtualTokens, encode, virtual_tokens
from autolora_bench.speedups.packed import packed_linears
from autolora_bench.tasks.base import Batch, EvaluationContext, Splits
from autolora_bench.tasks.classification import (
    Classification,
    Regression,
    SentenceTask,
    largest_probabilities,
)
from autolora_bench.tasks.encode import (
    EMPTY,
    TRUNCATED,
    check_room,
    counted,
    end_of_text,
    tokenizer_fingerprint,
    tokens_of,
    without_tokens,
)
from autolora_bench.tasks.generation.encode import padded
from autolora_bench.tasks.generation.task import pair_batch
from autolora_bench.tasks.inference import by_length, evaluation_mode

TRAIN = "train"
CLASS = "class"
"""Column of the training examples with the place of their label's text."""


@dataclass(frozen=True)
class AsText(SentenceTask):
    """What classification and regression as text share."""

    start: int
    """The token that the decoder begins with."""

    def prepare(self, data: TaskData, tokenizer: PreTrainedTokenizerBase) -> Splits:
        """Training examples with the tokens of their label's text as labels; of other splits the labels themselves.

        Raises:
            UserError: the tokenizer has no end of text, or gives two labels the same tokens; max_length leaves no room
                for a token.
        """
        check_room(tokenizer, self.config.max_length)
        targets = self.targets(tokenizer)
        encoded = {
            name: self._encode(split, name, data, tokenizer, targets) for name, split in data.splits.items()
        }
        plain, truncated = counted(encoded)
        example = question(self.config, ["..."] * len(self.config.texts))
        shown = answers(self.config)
        written = ", ".join(shown) if len(shown) < 10 else f"{shown[0]}, {shown[1]}, ..., {shown[-1]}"
        note = f"labels as text: `{example}` is answered by {written}; the most likely of them is predicted"
        notes = [note, *without_tokens(encoded, tokenizer)]
        return Splits(
            plain.pop(TRAIN), plain, truncated, notes, answers=dict(zip(shown, targets, strict=True))
        )

    def targets(self, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
        """The tokens of every label's text, framed as the tokenizer frames texts, the end of text last.

        Raises:
            UserError: as `prepare`.
        """
        end = end_of_text(tokenizer)
        texts = answers(self.config)
        found: list[list[int]] = [list(ids) for ids in tokenizer(texts)["input_ids"]]
        found = [ids if ids[-1:] == [end] else [*ids, end] for ids in found]
        for place, ids in enumerate(found):
            if ids in found[:place]:
                other = texts[found.index(ids)]
                raise UserError(
                    f"to the model's tokenizer the labels {other!r} and {texts[place]!r} are the same tokens",
                    "choose another model, or give task.labels other names",
                )
        return found

    def _encode(
        self,
        split: Dataset,
        name: str,
        data: TaskData,
        tokenizer: PreTrainedTokenizerBase,
        targets: list[list[int]],
    ) -> Dataset:
        def encode(examples: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
            columns = zip(*(examples[column] for column in self.config.texts), strict=True)
            texts = [question(self.config, row) for row in columns]
            encoded = tokens_of(tokenizer, texts, self.config.max_length)
            read = {name: encoded[name] for name in ("input_ids", "attention_mask", TRUNCATED, EMPTY)}
            found: dict[str, list[Any]] = {**read, "labels": examples["label"]}
            if name == TRAIN:
                places = [self.place(label) for label in examples["label"]]
                found |= {"labels": [targets[place] for place in places], CLASS: places}
            return found

        places = {label: self.place(label) for label in split["label"]} if name == TRAIN else {}
        parts = {
            "fingerprint": data.fingerprint,
            "split": name,
            "rows": str(len(split)),
            "tokenizer": tokenizer_fingerprint(tokenizer),
            "max_length": str(self.config.max_length),
            "texts": str([*self.config.texts, question(self.config, ["..."] * len(self.config.texts))]),
            "form": f"labels as text {targets} {sorted(places.items())}",
        }
        return cached_dataset(
            parts, lambda: split.map(encode, batched=True, remove_columns=split.column_names)
        )

    def place(self, label: Any) -> int:
        """Which of the texts a training example's label is taught as."""
        raise NotImplementedError

    def head(self) -> HeadSpec:
        """The model's own, of both halves."""
        return HeadSpec(HeadKind.text_to_text)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
        """Pads examples and label texts at the end."""
        return lambda examples: pair_batch(examples, int(tokenizer.pad_token_id), self.start)

    def outputs(self, model: nn.Module, split: Dataset, context: EvaluationContext) -> Tensor:
        """(examples, labels) log likelihoods of the labels' texts. Every example is read once."""
        targets = [torch.tensor(ids, device=context.device) for ids in self.targets(context.tokenizer)]
        rows = list(split["input_ids"])
        found = torch.empty(len(rows), len(targets))
        with merged(model) as plain, packed_linears(plain, context.bf16), evaluation_mode(model, context):
            virtual = virtual_tokens(model)
            for places in by_length([len(row) for row in rows], context.batch_size):
                batch = padded([rows[place] for place in places], int(context.tokenizer.pad_token_id))
                tokens, mask = (part.to(context.device) for part in batch)
                states, mask = encode(plain, tokens, mask, virtual)
                likelihoods = [self._likelihood(plain, states, mask, target, virtual) for target in targets]
                found[places] = torch.stack(likelihoods, dim=1).cpu()
        return found

    def _likelihood(
        self, model: Any, states: Tensor, mask: Tensor, target: Tensor, virtual: VirtualTokens | None
    ) -> Tensor:
        """(B,) log likelihood of one text after each example's encoder states (B, T, H)."""
        before = torch.cat([target.new_tensor([self.start]), target[:-1]]).expand(len(states), -1)
        logits = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            decoder_input_ids=before,
            past_key_values=None if virtual is None or virtual.cache is None else virtual.cache(len(states)),
            use_cache=False,
        ).logits
        each = logits.float().log_softmax(dim=-1).gather(-1, target.expand(len(states), -1)[..., None])
        return each.squeeze(-1).sum(dim=-1)  # type: ignore[no-any-return]

    def probabilities(self, outputs: Tensor) -> list[float]:
        """Of the label that is predicted, among all labels."""
        return largest_probabilities(outputs)


@dataclass(frozen=True)
class ClassificationAsText(AsText, Classification):
    """One of several labels, by its name."""

    config: ClassificationTask

    def place(self, label: int) -> int:
        """The class itself."""
        return label

    def stratify_column(self) -> str | None:
        """Both halves of the search see every label equally often."""
        return CLASS


@dataclass(frozen=True)
class RegressionAsText(AsText, Regression):
    """One number, by the text of the step that is nearest to it. What is predicted is a step."""

    config: RegressionTask

    def place(self, label: float) -> int:
        """The nearest step."""
        return nearest_answer(self.config, label)

    def predictions(self, outputs: Tensor) -> list[float]:
        """The number of the most likely text."""
        texts = answers(self.config)
        return [float(texts[int(place)]) for place in outputs.argmax(dim=-1)]
