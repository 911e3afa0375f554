"""How good the rows are: score against what they cost, and score by epoch, for figures and the page."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from autolora_bench.report.frames import cost_by_row
from autolora_bench.report.scoreboard import Column, Row, Table, tasks_under

MEASURES = {
    "parameters": "parameters of the method, millions",
    "seconds": "training of one run, search included, seconds",
    "memory": "peak memory, GiB",
    "flops": "arithmetic of one run, PFLOP",
}
"""What a score can be set against."""
Curve = dict[float, list[float]]
"""Epoch -> scores of the seeds, in the published unit."""


@dataclass(frozen=True)
class Point:
    """One method, by what it costs and what it scores."""

    label: str
    position: int
    """Its row, which decides its looks."""
    size: float
    """What it costs: millions of parameters, or another of `MEASURES`."""
    score: float
    std: float


def front(points: Sequence[Point], *, higher_is_better: bool = True) -> list[Point]:
    """Points that no other point beats at as low a cost and with as good a score, by cost."""
    sign = 1.0 if higher_is_better else -1.0
    best, chosen = float("-inf"), []
    for point in sorted(points, key=lambda p: (p.size, -sign * p.score)):
        if sign * point.score > best:
            best = sign * point.score
            chosen.append(point)
    return chosen


def points_of(table: Table, column: Column, measure: str = "parameters") -> list[Point]:
    """A column's scores against one of `MEASURES`; rows without a positive cost are left out."""
    sizes = _sizes(table, column, measure)
    cells = [(position, row, row.cells[column]) for position, row in enumerate(table.rows)]
    return [
        Point(row.label, position, sizes[position], cell.mean, cell.std or 0.0)
        for position, row, cell in cells
        if cell.mean is not None and sizes.get(position, 0.0) > 0
    ]


def _sizes(table: Table, column: Column, measure: str) -> dict[int, float]:
    """Row -> cost of a run on the column's tasks (frames.cost_by_row), or its weights."""
    tasks = tasks_under(column, table.columns)
    if measure == "parameters":
        found = {number: row.weights(tasks, "method") for number, row in enumerate(table.rows)}
        return {number: weights / 1e6 for number, weights in found.items() if weights is not None}
    name, unit = {"seconds": ("total", 1.0), "memory": ("peak", 2**30), "flops": ("flops", 1e15)}[measure]
    return {row: value / unit for row, value in cost_by_row(table.costs, name, tasks).items()}


def curve_of(row: Row, column: Column) -> Curve:
    """Scores by epoch; only where there are two epochs to join."""
    curve: Curve = defaultdict(list)
    for run in row.cells[column].runs:
        history = run.completed.history if run.completed else []
        split = column.split if column.epoch != "kept" else next((e.split for e in history), "")
        for evaluation in history:
            value = evaluation.scores.get(column.score)
            if evaluation.split == split and value is not None:
                curve[evaluation.epoch].append(value * column.metric.published_scale)
    return dict(sorted(curve.items())) if len(curve) > 1 else {}


def curve_title(row: Row, column: Column) -> str:
    """Of a learning curve: a test split is scored once, so the curve is of the split that runs were evaluated on."""
    histories = [run.completed.history for run in row.cells[column].runs if run.completed]
    of = next((history[0].split for history in histories if history), "")
    return column_title(column) + (f", on {of}" if column.epoch == "kept" and of else "")


def column_title(column: Column) -> str:
    """Task, metric, variant and epoch in a line."""
    return " ".join(filter(None, [column.title, column.subtitle]))
