"""Tables as one tidy CSV: a line per cell, for other programs."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from autolora_bench.report.formats import MISSING
from autolora_bench.report.rows import settings
from autolora_bench.report.scoreboard import Cell, Column, PublishedRow, Row, Table, tasks_under
from autolora_bench.untrusted import csv_cell

COSTS = {
    "wall_seconds": "wall", "search_seconds": "search", "train_seconds": "train", "cpu_seconds": "cpu",
    "peak_bytes": "peak", "tokens": "tokens", "flops": "flops",
}  # fmt: skip
FIELDS = (
    "model", "method", "settings", "task", "split", "metric", "epoch", "mean", "std", "n", "seeds", "best", "state",
    "parameters", "trainable", "seconds", "subset", "published", "published_std", "difference", "source", "table",
    "backbone", *COSTS, "hardware",
)  # fmt: skip
EMPTY: dict[str, object] = {"seeds": [], "best": False}
"""Of a line without a cell of ours."""


def tidy(tables: Sequence[Table]) -> str:
    """One tidy CSV: a line per cell, for other programs.

    Scores are in published units, to ten decimals, and to ten significant digits where the unit is no hundredth;
    parameters in weights; seconds are those of optimizer steps, mean over the row's tasks. The columns from
    wall_seconds on are the mean cost of the cell's own runs, empty where a record does not say or they were made on
    several machines. A published value stands in the line of our cell of the same setting, with its difference; all
    other published values have lines of their own with an empty mean.
    """
    lines = [{name: csv_cell(_text(value)) for name, value in line.items()} for line in score_lines(tables)]
    frame = pd.DataFrame(lines, columns=list(FIELDS), dtype=object)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def score_lines(tables: Sequence[Table]) -> list[dict[str, object]]:
    """The same lines for JSON: numbers are numbers, seeds a list of them, and what is not known is None."""
    return [
        {name: line.get(name, EMPTY.get(name)) for name in FIELDS}
        for table in tables
        for line in _lines(table)
    ]


def _text(value: object) -> object:
    """A value as a cell: yes or nothing, seeds in a row, nothing for what is not known."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else value


def _lines(table: Table) -> Iterator[dict[str, object]]:
    costs = _costs(table)
    for number, row in enumerate(table.rows):
        for column in table.columns:
            tasks = tasks_under(column, table.columns)
            cost = costs.get((number, column.task), {})
            line = {**_place(table, column), **_row(row, tasks), **_cell(row.cells[column], column), **cost}
            published = [one for one in row.published if column in one.values]
            yield {**line, **(_value(published[0], column) if published else {})}
            yield from ({**_place(table, column), **_value(more, column)} for more in published[1:])
    for one in [*table.others, *table.elsewhere]:
        for column in one.values:
            yield {**_place(table, column), "method": one.method, **_value(one, column)}


def _place(table: Table, column: Column) -> dict[str, object]:
    return {
        "model": table.model,
        "task": column.task,
        "split": column.split or None,
        "metric": column.score,
        "epoch": column.epoch,
        "subset": bool(table.marked & tasks_under(column, table.columns)),
    }


def _row(row: Row, tasks: set[str]) -> dict[str, object]:
    return {
        "method": row.method,
        "settings": settings(row.variant) or None,
        "parameters": row.weights(tasks, "method"),
        "trainable": row.weights(tasks, "trainable"),
        "seconds": _rounded(row.seconds),
    }


def _cell(cell: Cell, column: Column) -> dict[str, object]:
    largest = max(abs(cell.mean or 0.0), cell.std or 0.0)
    return {
        "mean": _digits(cell.mean, column, largest),
        "std": _digits(cell.std, column, largest),
        "n": cell.n,
        "seeds": list(cell.scores),
        "best": bool(cell.best),
        "state": "completed" if cell.mean is not None else cell.state.replace(MISSING, "missing"),
    }


def _costs(table: Table) -> dict[tuple[int, str], dict[str, object]]:
    """The mean cost of every row and task whose runs were made on one machine."""
    found: dict[tuple[int, str], dict[str, object]] = {}
    for (row, task), own in table.costs.groupby(["row", "task"]):
        if own["hardware"].nunique() == 1:
            means = own[list(COSTS.values())].mean(skipna=False)
            peak = own["peak"].max()
            found[row, task] = {name: _rounded(means[of]) for name, of in COSTS.items()}
            found[row, task] |= {
                "peak_bytes": None if pd.isna(peak) else int(peak),
                "hardware": own["hardware"].iloc[0],
            }
    return found


def _digits(value: float | None, column: Column, largest: float) -> float | None:
    """A value without what sums leave of rounding, where the largest of those it belongs to is so large."""
    small = not column.in_hundredths and 0 < largest < math.inf
    places = max(10, 9 - math.floor(math.log10(largest))) if small else 10
    return None if value is None else round(value, places)


def _rounded(value: float | None) -> float | None:
    return None if value is None or pd.isna(value) else round(float(value), 3)


def _value(published: PublishedRow, column: Column) -> dict[str, object]:
    gap = published.differences.get(column)
    return {
        "published": published.values[column],
        "published_std": published.stds.get(column),
        "difference": _digits(gap, column, abs(published.values[column])),
        "source": published.source,
        "table": published.table,
        "backbone": published.backbone,
    }
