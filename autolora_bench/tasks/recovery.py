"""Recovery: a student learns what a teacher puts out, the same frozen model with updates of known ranks in it.

Shapes: B batch, T tokens, H hidden size.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import peft
import torch
from datasets import Dataset
from peft import PeftModel
from torch import nn
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.ranks import PROJECTIONS
from autolora_bench.config.task import IGNORED, RecoveryTask
from autolora_bench.config.truth import plant_seed, planted_ranks
from autolora_bench.data.schema import TaskData
from autolora_bench.metrics.classification import spearman
from autolora_bench.metrics.scores import UNDEFINED, MetricScores
from autolora_bench.models.adapted_layers import block_and_projection
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone
from autolora_bench.models.targets import named_layers
from autolora_bench.search.layers import lora_layers
from autolora_bench.tasks.base import Batch, EvaluationContext, Result, Splits
from autolora_bench.tasks.inference import by_length, evaluation_mode
from autolora_bench.tasks.recovery_inputs import recovery_inputs
from autolora_bench.tasks.recovery_teacher import Plant, Teacher, read_teacher

ERROR, CORRELATION = "relative_error", "rank_correlation"


@dataclass
class Recovery:
    """The plant of one run, and the errors of its student."""

    experiment: ExperimentConfig
    teacher: Teacher = field(init=False)
    truth: dict[str, int] = field(init=False)
    """Adapted or planted layer, in the model's order -> planted rank. Known after `prepare`, as `teacher` and
    `variance`."""
    variance: float = field(init=False)
    """Of the training inputs: what the loss is divided by."""

    @property
    def config(self) -> RecoveryTask:
        """The task's configuration."""
        assert isinstance(self.experiment.task, RecoveryTask)
        return self.experiment.task

    def head(self) -> HeadSpec:
        """None: hidden states are compared."""
        return HeadSpec(HeadKind.hidden_states)

    def stratify_column(self) -> str | None:
        """Hidden states have no classes to balance."""
        return None

    def prepare(self, data: TaskData, tokenizer: PreTrainedTokenizerBase) -> Splits:
        """Tokens of every input; `labels` is its row among the teacher's outputs.

        Raises:
            UserError: fewer different inputs than task.rows asks for, or a plant that the model has no room for.
        """
        c = self.config
        numbers = self.experiment.data.source is Source.planted
        rows = {"train": c.rows["train"], **c.rows}
        inputs, truncated = recovery_inputs(c, rows, data, tokenizer, numbers)
        ends = accumulate(rows.values())
        splits = {
            name: inputs.select(range(end - rows[name], end)) for name, end in zip(rows, ends, strict=True)
        }
        backbone = load_backbone(self.experiment.model, self.head())
        seed = plant_seed(c, self.experiment.seed)
        model, adapted = backbone.model, backbone.targets
        layers = c.layers and named_layers(model, c.layers, "task.layers", self.experiment.model.name)
        layers = layers or adapted
        ranks = dict(zip(layers, planted_ranks(c, len(layers), seed), strict=True))
        both = {*layers, *adapted}
        self.truth = {name: ranks.get(name, 0) for name, _ in model.named_modules() if name in both}
        plant = Plant(c, ranks, seed)
        self.teacher = read_teacher(backbone, plant, inputs, tokenizer, rows["train"])
        self.variance = self.teacher.variance(splits["train"]["labels"][:])
        details = {"seed": seed, "mode": c.mode.name, "truth": self.truth, "variance": self.variance}
        return Splits(splits.pop("train"), splits, truncated, details={"plant": details})

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
        """Pads to the longest input of the batch; `labels` are the teacher's states (B, T, H), IGNORED at padding."""
        pad = DataCollatorWithPadding(tokenizer)

        def collate(examples: Sequence[Mapping[str, Any]]) -> Batch:
            batch = dict(pad([{k: v for k, v in example.items() if k != "labels"} for example in examples]))
            states = torch.cat([self.teacher.of(example["labels"]) for example in examples])
            labels = torch.full((*batch["input_ids"].shape, states.shape[1]), float(IGNORED))
            labels[batch["attention_mask"].bool()] = states
            return {**batch, "labels": labels, "variance": torch.full((len(examples),), self.variance)}

        return collate

    def evaluate(self, model: nn.Module, split: Dataset, context: EvaluationContext) -> Result:
        """The student's squared error over the teacher's squared change on this split: 1 for an untrained student.

        With the weights that were kept also the rank correlation of found with planted ranks: over all layers, over
        those with an update (`/planted`), and where there are several kinds of layers, over each (`/query`). The
        predictions are every input's own error over its own change.
        """
        rows, errors = split["labels"][:], self._errors(model, split, context)
        changes = [self.teacher.changes[row] for row in rows]
        scores = MetricScores({ERROR: sum(errors) / sum(changes)})
        if context.final and CORRELATION in self.config.metrics:
            self._correlate(model, scores)
        return Result(scores, len(split), [e / change for e, change in zip(errors, changes, strict=True)])

    def _errors(self, model: nn.Module, split: Dataset, context: EvaluationContext) -> list[float]:
        """Squared error of every input, summed over its tokens and hidden units."""
        columns, collate = split[:], self.collator(context.tokenizer)
        lengths = [len(tokens) for tokens in columns["input_ids"]]
        found = [0.0] * len(split)
        with evaluation_mode(model, context):
            for positions in by_length(lengths, context.batch_size):
                batch = collate([{name: column[i] for name, column in columns.items()} for i in positions])
                labels, _ = batch.pop("labels"), batch.pop("variance")
                inputs = {name: value.to(context.device) for name, value in batch.items()}
                states = model(**inputs).last_hidden_state.float().cpu()
                squares = torch.where(labels.ne(IGNORED), states - labels, 0.0).double().square()
                for position, square in zip(positions, squares.sum(dim=(1, 2)).tolist(), strict=True):
                    found[position] = square
        return found

    def _correlate(self, model: nn.Module, scores: MetricScores) -> None:
        if not isinstance(model, PeftModel) or not isinstance(model.active_peft_config, peft.LoraConfig):
            scores.missing[CORRELATION] = "the method gives layers no ranks"
            return
        found = {name: int(layer.r[model.active_adapter]) for name, layer in lora_layers(model).items()}
        for subset, layers in self._subsets().items():
            value = spearman([found.get(name, 0) for name in layers], [self.truth[name] for name in layers])
            if not math.isnan(value):
                scores.values[f"{CORRELATION}{subset}"] = value
            elif not subset:
                scores.missing[CORRELATION] = UNDEFINED

    def _subsets(self) -> dict[str, list[str]]:
        """End of a score's name -> the layers that it is about."""
        kinds: dict[str, list[str]] = {}
        for name in self.truth:
            projection = block_and_projection(name)[1]
            kinds.setdefault(f"/{PROJECTIONS.get(projection, projection)}", []).append(name)
        planted = [name for name, rank in self.truth.items() if rank]
        return {"": list(self.truth), "/planted": planted, **(kinds if len(kinds) > 1 else {})}
