"""Which scores a table shows: tasks in their order, splits and metrics within each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autolora_bench.metrics.registry import Metric
from autolora_bench.record import Evaluation, RunRecord
from autolora_bench.report.entries import Entry
from autolora_bench.report.published import AVERAGE, published_task
from autolora_bench.report.units import metric_of, metric_title

DOWN = "\N{DOWNWARDS ARROW}"


@dataclass(frozen=True)
class Column:
    """One score of one task."""

    task: str
    title: str
    split: str
    score: str
    """The score's name in the record, e.g. `bleu/unseen`."""
    metric: Metric
    epoch: str
    """best, last, or kept for test splits, which are scored once with the weights that were kept."""
    headline: bool
    """Whether this is the task's first metric on its first split."""
    epoch_shown: bool = False
    variant: str = ""
    """What tells this split from the task's other splits, e.g. mismatched."""

    @property
    def is_average(self) -> bool:
        """Whether this is a mean over tasks, not a score of one."""
        return self.task == AVERAGE

    @property
    def subtitle(self) -> str:
        """Metric, split variant, epoch; an arrow where lower is better."""
        metric = "" if self.is_average else metric_title(self.score)
        parts = [metric, self.variant, self.epoch if self.epoch_shown else ""]
        return " ".join(part for part in parts if part) + ("" if self.metric.higher_is_better else f" {DOWN}")

    @property
    def published_key(self) -> tuple[str, str]:
        """Task and metric of published values."""
        return published_task(self.task, self.split, self.score)

    def evaluation(self, record: RunRecord) -> Evaluation | None:
        """The evaluation that holds this score."""
        return {"best": record.best, "last": record.last, "kept": record.test}[self.epoch].get(self.split)

    def value(self, record: RunRecord) -> float | None:
        """The score in its published unit, None where the record has none."""
        evaluation = self.evaluation(record)
        raw = evaluation.scores.get(self.score) if evaluation else None
        return None if raw is None else raw * self.metric.published_scale


def averages_of(columns: Sequence[Column]) -> dict[Column, list[Column]]:
    """Average column -> the tasks' headline columns that it averages.

    None where there is but one task, or where the headlines cannot be added: another direction or another unit.
    """
    averages = {}
    for epoch in _epochs(columns):
        parts = [c for c in columns if c.headline and c.epoch in (epoch, "kept")]
        kinds = {(c.metric.higher_is_better, c.metric.published_scale) for c in parts}
        if len(parts) > 1 and kinds == {(True, 100.0)}:
            shown = any(c.epoch_shown for c in parts)
            mean = Metric("mean", published_scale=1.0)
            averages[Column(AVERAGE, AVERAGE, "", "mean", mean, epoch, False, shown)] = parts
    return averages


def _epochs(columns: Sequence[Column]) -> list[str]:
    epochs = dict.fromkeys(column.epoch for column in columns)
    return [epoch for epoch in epochs if epoch != "kept"] or list(epochs)


@dataclass(frozen=True)
class TaskFacts:
    """What the runs of one task say about it."""

    task: str
    title: str
    splits: list[str]
    tested: bool
    """Whether the scores are those of test splits."""
    scores: list[str]
    """The headline first."""
    generation: bool


def columns_of(
    entries: Sequence[Entry],
    *,
    epoch: str,
    metrics: str,
    known: set[tuple[str, str]],
    subsets: set[tuple[str, str]],
) -> list[Column]:
    """Columns of a table.

    Args:
        entries: the table's runs.
        epoch: best, last or both, for evaluation splits.
        metrics: `headline` (one per split), `all`, or `paper`: the headline, every metric of a text generation
            task, and what the published tables of this backbone hold beside it.
        known: (task, metric) published for the table's backbone.
        subsets: (task, metric) published for any backbone, to find subsets such as webnlg/unseen.
    """
    tasks: dict[str, list[Entry]] = {}
    for entry in entries:
        tasks.setdefault(entry.task, []).append(entry)
    columns: list[Column] = []
    for task, members in tasks.items():
        facts = _facts(task, members)
        scores = facts.scores[:1] if metrics == "headline" else facts.scores
        for column in _columns(facts, scores, epoch, members):
            key = column.published_key
            as_published = key in known or ("/" in key[0] and key in subsets)
            of_text = facts.generation and "/" not in column.score
            if metrics != "paper" or column.score == facts.scores[0] or of_text or as_published:
                columns.append(column)
    return columns


def _columns(facts: TaskFacts, scores: list[str], epoch: str, entries: list[Entry]) -> list[Column]:
    epochs = ["kept"] if facts.tested else ["best", "last"] if epoch == "both" else [epoch]
    records = [entry.completed for entry in entries if entry.completed]
    return [
        Column(
            task=facts.task,
            title=facts.title,
            split=split,
            score=score,
            metric=metric_of(score, records),
            epoch=one,
            headline=score == facts.scores[0] and split == facts.splits[0],
            epoch_shown=len(epochs) > 1,
            variant=_variant(split, facts.splits),
        )
        for score in scores
        for split in facts.splits
        for one in epochs
    ]


def _variant(split: str, splits: Sequence[str]) -> str:
    """`mismatched` of validation_mismatched, and `matched` of the split beside it."""
    name = split.partition("_")[2]
    return "matched" if not name and f"{split}_mismatched" in splits else name


def _facts(task: str, entries: list[Entry]) -> TaskFacts:
    records = [entry.completed for entry in entries if entry.completed]
    nodes = [entry.config.get("task") for entry in entries]
    node: dict[str, Any] = next((node for node in nodes if isinstance(node, dict) and node), {})
    tested = bool(_names(node.get("test"))) and (not records or any(record.test for record in records))
    splits = _names(node.get("test" if tested else "evaluation"))
    splits = splits or list(dict.fromkeys(s for record in records for s in record.best)) or ["validation"]
    scores = _ordered_scores(records, splits, "test" if tested else "best", _names(node.get("metrics")))
    title = next((entry.title for entry in entries if entry.title), None) or str(node.get("title") or task)
    return TaskFacts(task, title, splits, tested, scores, "decoding" in node)


def _ordered_scores(records: list[RunRecord], splits: list[str], place: str, stated: list[str]) -> list[str]:
    """Scores that completed runs hold (without one: that the task states), headline first."""
    evaluations = [getattr(record, place).get(split) for record in records for split in splits]
    held = dict.fromkeys(score for evaluation in evaluations if evaluation for score in evaluation.scores)
    scores = [s for s in stated if s in held or not held] + [s for s in held if s not in stated]
    headline = next((record.headline for record in records if record.headline in scores), None)
    return sorted(scores or ["score"], key=lambda s: s != headline) if headline else scores or ["score"]


def _names(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []
