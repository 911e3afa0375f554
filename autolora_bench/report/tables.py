"""Tables of scores: which columns, what stands in a cell, and what is known of the same setting elsewhere."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from autolora_bench.config.experiment import COMPARE
from autolora_bench.metrics.registry import Metric
from autolora_bench.record import RunRecord
from autolora_bench.report.frames import Frames, cost_by_row, evaluation_of
from autolora_bench.report.missing_cells import unfilled_of
from autolora_bench.report.notes import footnotes_of, generated_tasks, marked_tasks
from autolora_bench.report.published import Published, attach_published, backbone_name
from autolora_bench.report.rows import RowRuns
from autolora_bench.report.runs import Run, grouped
from autolora_bench.report.scoreboard import AVERAGE, Cell, Column, Row, Table, of_tasks
from autolora_bench.report.significance import claims_of, separated
from autolora_bench.report.units import metric_of


def tables_of(
    frames: Frames,
    published: Sequence[Published] = (),
    *,
    epoch: str,
    metrics: str,
    title: str,
    compare: Sequence[str] = COMPARE,
) -> list[Table]:
    """One table per model, in the runs' order.

    Args:
        frames: of the runs, made or planned.
        published: values to set beside ours.
        epoch: best, last or both.
        metrics: headline, paper or all; see `columns_of`.
        title: what the table is called.
        compare: the family of comparisons, `method:other`.
    """
    anywhere = {(p.task, p.metric) for p in published}
    tables = []
    for model, found in frames.rows.items():
        shown = [row for row in found if row.alive] or found
        place = {id(run): number for number, row in enumerate(shown) for run in row.runs}
        runs = [run for run in frames.made if id(run) in place]
        backbone = backbone_name(_weights(runs[0]))
        known = {(p.task, p.metric) for p in published if p.backbone == backbone}
        columns = columns_of(runs, epoch=epoch, metrics=metrics, known=known, subsets=anywhere)
        averages = averages_of(columns)
        position = pd.Series({n: place[id(run)] for n, run in enumerate(frames.made) if id(run) in place})
        cells = _cells(frames.scores, position, shown, columns, averages)
        costs = frames.costs[frames.costs.index.isin(position.index)]
        costs = costs.assign(row=position.loc[costs.index]).join(frames.runs[["task", "seed"]])
        seconds = cost_by_row(costs, "total", {run.task for run in runs})
        order = {task: number for number, task in enumerate(dict.fromkeys(run.task for run in runs))}
        rows = [
            _row(row, own, seconds.get(number), order)
            for number, (row, own) in enumerate(zip(shown, cells, strict=True))
        ]
        claims = claims_of(rows, [*columns, *averages], compare)
        rows = _marked(rows, separated(rows, [*columns, *averages], claims))
        counts = Counter(cell.n for row in rows for cell in row.cells.values() if cell.n)
        table = Table(
            title=title,
            model=model,
            columns=[*columns, *averages],
            rows=rows,
            usual_n=max(counts, key=lambda n: (counts[n], n), default=0),
            marked=frozenset(marked_tasks(runs)),
            unfilled=unfilled_of([*shown, *(row for row in found if row not in shown)]),
            claims=claims,
            compare=tuple(compare),
            costs=costs,
        )
        table = attach_published(table, published, backbone, generated_tasks(runs))
        tables.append(replace(table, footnotes=footnotes_of(table, runs, shown)))
    return tables


def _weights(run: Run) -> str:
    """The name of the weights: the checkpoint that replaces the model's own, or the model."""
    checkpoint = run.setting("model", "checkpoint")
    name = run.record.model if run.record else run.setting("model", "name")
    return str(checkpoint or name)


def _row(row: RowRuns, cells: dict[Column, Cell], seconds: float | None, order: Mapping[str, int]) -> Row:
    counts = [run.completed.parameters for run in row.runs if run.completed and run.completed.parameters]
    return Row(
        method=row.method,
        variant=row.variant,
        label=row.label,
        main=row.main,
        undecided=row.undecided,
        runs=tuple(sorted(row.runs, key=lambda run: order[run.task])),
        cells=cells,
        parameters=[float(count.method) for count in counts],
        trainable=[float(count.trainable) for count in counts],
        seconds=seconds,
    )


def _marked(rows: list[Row], best: dict[Column, int]) -> list[Row]:
    cells = [dict(row.cells) for row in rows]
    for column, position in best.items():
        cells[position][column] = replace(cells[position][column], best=True)
    return [replace(row, cells=own) for row, own in zip(rows, cells, strict=True)]


def _cells(
    scores: pd.DataFrame,
    position: pd.Series,
    rows: Sequence[RowRuns],
    columns: Sequence[Column],
    averages: Mapping[Column, Sequence[Column]],
) -> list[dict[Column, Cell]]:
    """The cells of every row: scores pivoted to row and column, then averaged over seeds."""
    keys = [(c.task, c.split, c.score, c.epoch, number) for number, c in enumerate(columns)]
    wanted = pd.DataFrame(keys, columns=["task", "split", "metric", "epoch", "column"])
    held = scores.assign(row=scores["run"].map(position)).dropna(subset=["row", "value"])
    held = held.merge(wanted, on=["task", "split", "metric", "epoch"]).sort_values("seed", kind="stable")
    stats = held.groupby(["row", "column"])["value"].agg(["mean", "std"])
    seeds = {
        key: dict(zip(own["seed"], own["value"], strict=True)) for key, own in held.groupby(["row", "column"])
    }
    found: list[dict[Column, Cell]] = []
    for place, row in enumerate(rows):
        by_task = grouped(row.runs, lambda run: run.task)
        cells = {}
        for number, column in enumerate(columns):
            own = seeds.get((place, number), {})
            mean, std = stats.loc[(place, number)] if own else (None, None)
            runs = tuple(run for run in by_task.get(column.task, ()) if _was_asked(run, column))
            made = {run.seed: run.pair for run in runs if run.completed}
            pairs = {made[seed]: value for seed, value in own.items()}
            cells[column] = Cell(runs, own, pairs, mean, std if len(own) > 1 else None)
        cells |= {average: _average([cells[part] for part in parts]) for average, parts in averages.items()}
        found.append(cells)
    return found


def _was_asked(run: Run, column: Column) -> bool:
    """Whether the run is to have the score, or was asked for it: not every run is asked for every metric."""
    found = evaluation_of(run, column.epoch, column.split)
    return run.completed is None or (found is not None and column.score in found.scores)


def _average(parts: Sequence[Cell]) -> Cell:
    """Mean over tasks, by seed where all tasks have the same seeds; empty where a task has no score."""
    wide = pd.DataFrame(
        {number: pd.Series(part.scores, dtype="float64") for number, part in enumerate(parts)}
    )
    if wide.empty or wide.isna().all().any():
        return Cell()
    pairs = {key: value for part in parts for key, value in part.pairs.items()}
    if wide.isna().any(axis=None):
        return Cell(pairs=pairs, mean=float(wide.mean().mean()))
    by_seed = wide.mean(axis=1)
    std = float(by_seed.std()) if len(by_seed) > 1 else None
    return Cell(scores=by_seed.to_dict(), pairs=pairs, mean=float(by_seed.mean()), std=std)


def averages_of(columns: Sequence[Column]) -> dict[Column, list[Column]]:
    """Average column -> the tasks' headline columns that it averages.

    None where there is but one task, or where the headlines cannot be added: another direction or another unit.
    """
    averages = {}
    for epoch in _epochs(columns):
        parts = of_tasks([c for c in columns if c.headline and c.epoch in (epoch, "kept")])
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
    language: str = ""
    """The one that was trained on, of a task in several."""

    def suffix(self, split: str) -> str:
        """What published values of a split are filed under, behind the task's name.

        The bare name is that of the first split, as no other is meant by a table that names none; of MNLI it is the
        matched one, of a task in several languages the one that was trained on, or a split that names none.
        """
        if split.endswith("_mismatched"):
            return "mm"
        language = split.partition("_")[2]
        bare = language in ("", self.language) if self.language else split == self.splits[0]
        if f"{split}_mismatched" in self.splits or bare:
            return ""
        return _variants(self.splits)[split] or split


def columns_of(
    runs: Sequence[Run],
    *,
    epoch: str,
    metrics: str,
    known: set[tuple[str, str]],
    subsets: set[tuple[str, str]],
) -> list[Column]:
    """Columns of a table.

    Args:
        runs: the table's runs.
        epoch: best, last or both, for evaluation splits.
        metrics: `headline` (one per split), `all`, or `paper`: the headline, every metric of a text generation
            task, and what the published tables of this backbone hold beside it.
        known: (task, metric) published for the table's backbone.
        subsets: (task, metric) published for any backbone, to find subsets such as webnlg/unseen.
    """
    columns: list[Column] = []
    for task, members in grouped(runs, lambda run: run.task).items():
        facts = _facts(task, members)
        scores = facts.scores[:1] if metrics == "headline" else facts.scores
        for column in _columns(facts, scores, epoch, members):
            key = column.published_key
            as_published = key in known or ("/" in key[0] and key in subsets)
            of_text = facts.generation and "/" not in column.score
            if metrics != "paper" or column.score == facts.scores[0] or of_text or as_published:
                columns.append(column)
    return columns


def _columns(facts: TaskFacts, scores: list[str], epoch: str, runs: list[Run]) -> list[Column]:
    epochs = ["kept"] if facts.tested else ["best", "last"] if epoch == "both" else [epoch]
    records = [run.completed for run in runs if run.completed]
    variants = _variants(facts.splits)
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
            variant=variants[split],
            shuffled=any(run.setting("data", "shuffle_labels") for run in runs),
            suffix=facts.suffix(split),
        )
        for score in scores
        for split in facts.splits
        for one in epochs
    ]


def _variants(splits: Sequence[str]) -> dict[str, str]:
    """Split -> what tells it from the task's others: `mismatched` of validation_mismatched, and `matched` of the split
    beside it; the whole names where these would not tell all apart."""
    found = {split: split.partition("_")[2] for split in splits}
    found |= {split: "matched" for split in splits if not found[split] and f"{split}_mismatched" in splits}
    return found if len({*found.values()}) == len(found) else {split: split for split in splits}


def _facts(task: str, runs: list[Run]) -> TaskFacts:
    records = [run.completed for run in runs if run.completed]
    nodes = [run.config.get("task") for run in runs]
    node: dict[str, Any] = next((node for node in nodes if isinstance(node, dict) and node), {})
    tested = bool(_names(node.get("test"))) and all(record.test for record in records)
    splits = _names(node.get("test" if tested else "evaluation"))
    splits = splits or list(dict.fromkeys(s for record in records for s in record.best)) or ["validation"]
    scores = _ordered_scores(records, splits, "test" if tested else "best", _names(node.get("metrics")))
    title = next((run.title for run in runs if run.title), None) or str(node.get("title") or task)
    language = str(node.get("language") or "")
    return TaskFacts(task, title, splits, tested, scores, "decoding" in node, language)


def _ordered_scores(records: list[RunRecord], splits: list[str], place: str, stated: list[str]) -> list[str]:
    """Scores that completed runs hold (without one: that the task states), headline first."""
    evaluations = [getattr(record, place).get(split) for record in records for split in splits]
    held = dict.fromkeys(score for evaluation in evaluations if evaluation for score in evaluation.scores)
    scores = [s for s in stated if s in held or not held] + [s for s in held if s not in stated]
    headline = next((record.headline for record in records if record.headline in scores), None)
    return sorted(scores or ["score"], key=lambda s: s != headline) if headline else scores or ["score"]


def _names(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []
