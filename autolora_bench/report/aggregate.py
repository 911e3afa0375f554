"""Builds the tables: groups runs into rows and cells, averages, marks the best."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from autolora_bench.config.experiment import COMPARE
from autolora_bench.report.columns import Column, averages_of, columns_of
from autolora_bench.report.comparison import attach_published
from autolora_bench.report.cost import mean_over, run_cost
from autolora_bench.report.entries import Entry
from autolora_bench.report.footnotes import footnotes_of
from autolora_bench.report.hardware import hardware
from autolora_bench.report.origins import generated_tasks, marked_tasks
from autolora_bench.report.published import Published, backbone_name
from autolora_bench.report.rows import RowRuns, rows_of
from autolora_bench.report.scoreboard import Cell, Row, Table
from autolora_bench.report.significance import claims_of, separated
from autolora_bench.report.unfilled import unfilled_of


def tables_of(
    entries: Sequence[Entry],
    published: Sequence[Published] = (),
    *,
    epoch: str,
    metrics: str,
    title: str,
    compare: Sequence[str] = COMPARE,
) -> list[Table]:
    """One table per model, in the entries' order.

    Args:
        entries: runs, made or planned.
        published: values to set beside ours.
        epoch: best, last or both.
        metrics: headline, paper or all; see `columns.columns_of`.
        title: what the table is called.
        compare: the family of comparisons, `method:other`.
    """
    models: dict[str, list[Entry]] = {}
    for entry in entries:
        models.setdefault(entry.model, []).append(entry)
    return [
        _table(model, members, published, epoch, metrics, title, compare) for model, members in models.items()
    ]


def _table(
    model: str,
    everything: list[Entry],
    published: Sequence[Published],
    epoch: str,
    metrics: str,
    title: str,
    compare: Sequence[str],
) -> Table:
    found = rows_of(everything)
    shown = [row for row in found if row.alive] or found
    tries = [row for row in found if row not in shown]
    kept = {id(entry) for row in shown for entry in row.entries}
    entries = [entry for entry in everything if id(entry) in kept]
    backbone = backbone_name(_weights(entries[0]))
    known = {(p.task, p.metric) for p in published if p.backbone == backbone}
    anywhere = {(p.task, p.metric) for p in published}
    columns = columns_of(entries, epoch=epoch, metrics=metrics, known=known, subsets=anywhere)
    averages = averages_of(columns)
    rows = [_row(row, columns, averages) for row in shown]
    claims = claims_of(rows, [*columns, *averages], compare)
    rows = _marked(rows, separated(rows, [*columns, *averages], claims))
    counts = Counter(cell.n for row in rows for cell in row.cells.values() if cell.n)
    table = Table(
        title=title,
        model=model,
        columns=[*columns, *averages],
        rows=_timed(rows, entries),
        usual_n=max(counts, key=lambda n: (counts[n], n), default=0),
        marked=frozenset(marked_tasks(entries)),
        unfilled=unfilled_of([*shown, *tries]),
        claims=claims,
        compare=tuple(compare),
    )
    table = attach_published(table, published, backbone, generated_tasks(entries))
    return replace(table, footnotes=footnotes_of(table, entries, shown))


def _weights(entry: Entry) -> str:
    """The name of the weights: the checkpoint that replaces the model's own, or the model."""
    checkpoint = entry.setting("model", "checkpoint")
    name = entry.record.model if entry.record else entry.setting("model", "name")
    return str(checkpoint or name)


def _marked(rows: list[Row], best: dict[Column, int]) -> list[Row]:
    cells = [dict(row.cells) for row in rows]
    for column, position in best.items():
        cells[position][column] = replace(cells[position][column], best=True)
    return [replace(row, cells=own) for row, own in zip(rows, cells, strict=True)]


def _timed(rows: list[Row], entries: list[Entry]) -> list[Row]:
    """The rows with their times, where all runs were made on one machine."""
    machines = {hardware(entry.completed) for entry in entries if entry.completed}
    tasks = tuple(dict.fromkeys(entry.task for entry in entries))
    return [replace(row, seconds=_seconds(row, tasks)) for row in rows] if len(machines) == 1 else rows


def _seconds(row: Row, tasks: tuple[str, ...]) -> float | None:
    runs = {id(entry): entry for cell in row.cells.values() for entry in cell.entries}.values()
    by_task = {
        task: [run_cost(e.completed) for e in runs if e.task == task and e.completed] for task in tasks
    }
    return mean_over(by_task, tasks, "total") if all(by_task.values()) else None


def _row(row: RowRuns, columns: list[Column], averages: dict[Column, list[Column]]) -> Row:
    counts = [
        entry.completed.parameters for entry in row.entries if entry.completed and entry.completed.parameters
    ]
    return Row(
        method=row.method,
        variant=row.variant,
        label=row.label,
        main=row.main,
        cells=_cells(list(row.entries), columns, averages),
        parameters=[float(count.method) for count in counts],
        trainable=[float(count.trainable) for count in counts],
    )


def _cells(
    entries: list[Entry], columns: list[Column], averages: dict[Column, list[Column]]
) -> dict[Column, Cell]:
    by_task: dict[str, list[Entry]] = {}
    for entry in entries:
        by_task.setdefault(entry.task, []).append(entry)
    cells = {column: _cell(by_task.get(column.task, []), column) for column in columns}
    means = {average: _average([cells[part] for part in parts]) for average, parts in averages.items()}
    return {**cells, **means}


def _cell(entries: list[Entry], column: Column) -> Cell:
    values = [
        (e.seed, column.value(e.completed)) for e in sorted(entries, key=lambda e: e.seed) if e.completed
    ]
    scores = {seed: value for seed, value in values if value is not None}
    return Cell(tuple(entries), scores, {(column.task, seed): value for seed, value in scores.items()})


def _average(parts: list[Cell]) -> Cell:
    """Mean over tasks, by seed where all tasks have the same seeds; empty where a task has no score."""
    means = [part.mean for part in parts if part.mean is not None]
    if len(means) < len(parts):
        return Cell()
    pairs = {key: value for part in parts for key, value in part.pairs.items()}
    seeds = parts[0].scores.keys()
    if any(part.scores.keys() != seeds for part in parts):
        return Cell(pairs=pairs, mean_of_means=fmean(means))
    return Cell(scores={seed: fmean(part.scores[seed] for part in parts) for seed in seeds}, pairs=pairs)
