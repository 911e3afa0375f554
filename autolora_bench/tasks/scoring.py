"""From a task's result to what the record keeps."""

from collections import Counter

from autolora_bench.record import Evaluation
from autolora_bench.tasks.base import Result


def evaluation_of(phase: str, split: str, result: Result, epoch: float = 0.0, step: int = 0) -> Evaluation:
    """The record's entry: a metric without a value is None there, and the note says why."""
    scores: dict[str, float | None] = {**result.scores.values, **dict.fromkeys(result.scores.missing)}
    reasons = [f"{name}: {why}" for name, why in result.scores.missing.items()]
    note = "; ".join(filter(None, [result.note, *reasons])) or None
    labels = result.gold if "accuracy" in scores and result.gold else []
    counts = Counter(label for label in labels if isinstance(label, str))
    largest = counts.most_common(1)[0][1] / len(labels) if counts else None
    return Evaluation(phase, split, epoch, step, scores, result.examples, note=note, largest_class=largest)
