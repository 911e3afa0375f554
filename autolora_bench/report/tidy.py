"""Tables as one tidy CSV: a line per cell, numbers unrounded, for other programs."""

import csv
import io
from collections.abc import Iterator, Sequence
from statistics import fmean

from autolora_bench.report.columns import Column
from autolora_bench.report.cost import mean_cost, run_cost
from autolora_bench.report.hardware import hardware
from autolora_bench.report.scoreboard import PublishedRow, Row, Table
from autolora_bench.report.variants import settings
from autolora_bench.untrusted import csv_cell

FIELDS = (
    "model", "method", "settings", "task", "split", "metric", "epoch", "mean", "std", "n", "seeds", "best", "state",
    "parameters", "trainable", "seconds", "subset", "published", "published_std", "difference", "source", "table",
    "backbone", "wall_seconds", "search_seconds", "train_seconds", "cpu_seconds", "peak_bytes", "tokens", "flops",
    "hardware",
)  # fmt: skip


def tidy(tables: Sequence[Table]) -> str:
    """CSV text.

    Scores are in published units, parameters in weights; seconds are those of optimizer steps, mean over the row's
    tasks. The columns from wall_seconds on are the mean cost of the cell's own runs, empty where a record does not say
    or they were made on several machines. A published value stands in the line of our cell of the same setting, with
    its difference; all other published values have lines of their own with an empty mean.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for row in table.rows:
            writer.writerows(map(_cells, _ours(table, row)))
        for published in [*table.others, *table.elsewhere]:
            writer.writerows(map(_cells, _theirs(table, published)))
    return text.getvalue()


def _cells(line: dict[str, object]) -> dict[str, object]:
    return {name: csv_cell(value) for name, value in line.items()}


def _ours(table: Table, row: Row) -> Iterator[dict[str, object]]:
    for column in table.columns:
        line = {**_place(table, column), **_row(row), **_cell(row, column), **_cost(row, column)}
        published = [one for one in row.published if column in one.values]
        yield {**line, **(_value(published[0], column) if published else {})}
        yield from ({**_place(table, column), **_value(more, column)} for more in published[1:])


def _theirs(table: Table, published: PublishedRow) -> Iterator[dict[str, object]]:
    for column in published.values:
        yield {**_place(table, column), "method": published.method, **_value(published, column)}


def _place(table: Table, column: Column) -> dict[str, object]:
    return {
        "model": table.model,
        "task": column.task,
        "split": column.split,
        "metric": column.score,
        "epoch": column.epoch,
        "subset": "yes" if column.task in table.marked else "",
    }


def _row(row: Row) -> dict[str, object]:
    return {
        "method": row.method,
        "settings": settings(row.variant),
        "parameters": fmean(row.parameters) if row.parameters else "",
        "trainable": fmean(row.trainable) if row.trainable else "",
        "seconds": _plain(row.seconds),
    }


def _cell(row: Row, column: Column) -> dict[str, object]:
    cell = row.cells[column]
    return {
        "mean": "" if cell.mean is None else repr(round(cell.mean, 10)),
        "std": "" if cell.std is None else repr(round(cell.std, 10)),
        "n": cell.n,
        "seeds": " ".join(str(seed) for seed in cell.scores),
        "best": "yes" if cell.best else "",
        "state": "completed" if cell.mean is not None else cell.state.replace("--", "missing"),
    }


def _cost(row: Row, column: Column) -> dict[str, object]:
    records = [entry.completed for entry in row.cells[column].entries if entry.completed]
    machines = {hardware(record) for record in records}
    if len(machines) != 1:
        return {}
    cost = mean_cost([run_cost(record) for record in records])
    return {
        "wall_seconds": _plain(cost.wall),
        "search_seconds": _plain(cost.search),
        "train_seconds": _plain(cost.train),
        "cpu_seconds": _plain(cost.cpu),
        "peak_bytes": _plain(cost.peak),
        "tokens": _plain(cost.tokens),
        "flops": _plain(cost.flops),
        "hardware": machines.pop(),
    }


def _plain(value: float | None) -> str:
    return "" if value is None else repr(round(value, 3))


def _value(published: PublishedRow, column: Column) -> dict[str, object]:
    gap = published.differences.get(column)
    return {
        "published": published.values[column],
        "published_std": published.stds.get(column, ""),
        "difference": "" if gap is None else repr(round(gap, 10)),
        "source": published.source,
        "table": published.table,
        "backbone": published.backbone,
    }
