"""The phase that scores a task's test splits with the weights that were kept."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from datasets import Dataset
from torch import nn

from autolora_bench.config.task import TaskConfig
from autolora_bench.config.train import Precision
from autolora_bench.data.schema import input_columns
from autolora_bench.methods.base import Method, PhaseContext, PhaseResult
from autolora_bench.metrics.registry import own_metrics
from autolora_bench.paths import EXAMPLES
from autolora_bench.record import write_atomically
from autolora_bench.speedups.applied import sped_up
from autolora_bench.tasks.base import PARTIAL, EvaluationContext, Result, evaluation_of
from autolora_bench.tasks.classification import SentenceTask
from autolora_bench.tasks.inference import by_length
from autolora_bench.tasks.tagging import Tagging
from autolora_bench.training.progress import EvaluationProgress

CHECKED = 2
"""Batches that the rebuilt model predicts again where the training's own predictions are taken."""
OWN_NAMES = ("id", "gold", "prediction", "probability")
"""What a line of the examples says of each beside its columns."""


@dataclass(frozen=True)
class EvaluatePhase:
    """Predicts every evaluation and test split in full; leaves the predictions, one JSON value per line, and the
    examples with what is right and what was predicted.

    What the training predicted of an evaluation split with the weights that it kept is not computed again, once the
    model that is rebuilt from the saved weights predicts the same on CHECKED batches of it.

    Scores of test splits become the run's; those of complete evaluation splits stand in the phase's details.
    """

    method: Method
    parallel: ClassVar[bool] = False
    name: str = "evaluate"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Rebuild the trained model and score it."""
        folder = context.phase_folder(self.name)
        train = context.train
        model = self.method.rebuild(context)
        result = PhaseResult(artefact=self.name)
        with sped_up(model, train):
            for split in dict.fromkeys([*context.task.config.evaluation, *context.task.config.test]):
                evaluation_context = EvaluationContext(
                    context.tokenizer,
                    context.device,
                    train.evaluation_batch_size,
                    bf16=train.precision is Precision.bf16,
                    folder=folder,
                    split=split,
                    progress=EvaluationProgress(f"{self.name} {split}"),
                )
                scored = self._scored(model, context, evaluation_context)
                lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in scored.predictions)
                write_atomically(folder / f"{split}.jsonl", lines)
                if scored.gold is not None:
                    examples = _examples(context.task.config, context.data.splits[split], scored)
                    write_atomically(folder / f"{split}{EXAMPLES}", examples)
                evaluation = evaluation_of(self.name, split, scored)
                if split in context.task.config.test:
                    result.test[split] = evaluation
                else:
                    result.details[split] = evaluation.scores
        for unfinished in folder.glob(f"*{PARTIAL}"):
            unfinished.unlink()
        return result

    def _scored(self, model: nn.Module, context: PhaseContext, evaluation: EvaluationContext) -> Result:
        split = context.splits.held_out[evaluation.split]
        before = context.predicted.get(evaluation.split)
        if before is not None and _is_confirmed(before, model, split, context, evaluation):
            return before
        return context.task.evaluate(model, split, evaluation)


def _is_confirmed(
    before: Result, model: nn.Module, split: Dataset, context: PhaseContext, evaluation: EvaluationContext
) -> bool:
    """Whether a few batches give the predictions that were made before, of the whole split and with all metrics."""
    quick = isinstance(context.task, SentenceTask | Tagging) and not own_metrics(context.task.config.metrics)
    if not quick or before.note is not None or before.examples != len(split):
        return False
    lengths = [len(tokens) for tokens in split["input_ids"]]
    batches = list(by_length(lengths, evaluation.batch_size))
    if len(batches) <= CHECKED:
        return False
    chosen = [place for batch in batches[-CHECKED:] for place in batch]
    again = context.task.evaluate(model, split.select(chosen), evaluation)
    return again.predictions == [before.predictions[place] for place in chosen]


def _examples(task: TaskConfig, given: Iterable[dict[str, Any]], scored: Result) -> str:
    """A JSON line for each: its place in the split, its columns without the answer, the answer, the prediction."""
    names = _shown_as(input_columns(task))
    assert scored.gold is not None
    known = scored.probabilities or [None] * len(scored.gold)
    lines = []
    for place, (row, gold, predicted, sure) in enumerate(
        zip(given, scored.gold, scored.predictions, known, strict=True)
    ):
        line: dict[str, Any] = {"id": place} | {names[name]: row[name] for name in row if name in names}
        line |= {
            "gold": gold,
            "prediction": predicted["output"] if isinstance(predicted, dict) else predicted,
        }
        line |= {} if sure is None else {"probability": sure}
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines)


def _shown_as(columns: Sequence[str]) -> dict[str, str]:
    """Column -> its name in a line of the examples: with `_` behind it where the line says something else by it."""
    found: dict[str, str] = {}
    for name in columns:
        shown = name
        while shown in OWN_NAMES or (shown != name and shown in columns):
            shown += "_"
        found[name] = shown
    return found
