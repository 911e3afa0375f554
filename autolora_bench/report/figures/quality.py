"""How good the methods are: score against parameters, with the front that nothing beats in both, and score by epoch."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autolora_bench.report.figures.style import (
    Picture,
    file_name,
    legend_below,
    line_style,
    logarithmic,
    panels,
    picture,
)
from autolora_bench.report.scoreboard import Column, Row, Table

Curve = dict[float, list[float]]
"""Epoch -> scores of the seeds, in the published unit."""


@dataclass(frozen=True)
class Point:
    """One method in one panel."""

    label: str
    position: int
    """Its row, which decides colour and marker."""
    parameters: float
    """Millions."""
    score: float
    std: float


def pareto_figures(tables: Sequence[Table]) -> list[Picture]:
    """One figure per model: a panel per headline score, and the average."""
    found = []
    for table in tables:
        columns = [column for column in table.columns if column.headline or column.is_average]
        shown = {column: points for column in columns if len(points := _points(table, column)) > 1}
        if shown:
            found.append(_picture(table, shown))
    return found


def front(points: Sequence[Point], *, higher_is_better: bool = True) -> list[Point]:
    """Points that no other point beats with as few parameters and as good a score, by parameters."""
    sign = 1.0 if higher_is_better else -1.0
    best, chosen = float("-inf"), []
    for point in sorted(points, key=lambda p: (p.parameters, -sign * p.score)):
        if sign * point.score > best:
            best = sign * point.score
            chosen.append(point)
    return chosen


def _points(table: Table, column: Column) -> list[Point]:
    rows = [(position, row, row.cells[column]) for position, row in enumerate(table.rows) if row.parameters]
    return [
        Point(row.label, position, fmean(row.parameters) / 1e6, cell.mean, cell.std or 0.0)
        for position, row, cell in rows
        if cell.mean is not None and fmean(row.parameters) > 0
    ]


def _picture(table: Table, shown: dict[Column, list[Point]]) -> Picture:
    caption = (
        f"{table.title}: score against parameters that the method trains, without the head. Bars: standard deviation "
        "over seeds. Line: no method is better with fewer parameters."
    )
    chosen = {c: front(points, higher_is_better=c.metric.higher_is_better) for c, points in shown.items()}
    parts = [
        f"{_title(column)}: {', '.join(point.label for point in line)}" for column, line in chosen.items()
    ]
    alt = f"Scatter plot; on the front are, by panel, {'; '.join(parts)}."
    return picture(file_name("pareto", table.model), table.subject, caption, alt, lambda: _draw(shown))


def _draw(shown: dict[Column, list[Point]]) -> Figure:
    figure, axes = panels(len(shown), 2.7, 2.3, columns=3)
    sizes = [point.parameters for points in shown.values() for point in points]
    limits = (min(sizes) / 1.5, max(sizes) * 1.5)
    for axis, (column, points) in zip(axes, shown.items(), strict=True):
        axis.set_xlim(*limits)
        logarithmic(axis, "x")
        axis.set(title=_title(column), xlabel="parameters, millions")
        _front(axis, front(points, higher_is_better=column.metric.higher_is_better))
        _points_in(axis, points)
    legend_below(figure, axes)
    return figure


def _front(axis: Any, line: Sequence[Point]) -> None:
    xs, ys = [point.parameters for point in line], [point.score for point in line]
    axis.plot(xs, ys, color="#999999", linewidth=1.0, drawstyle="steps-post")


def _points_in(axis: Any, points: Sequence[Point]) -> None:
    for point in points:
        look = {**line_style(point.position), "linestyle": "none", "markerfacecolor": "none"}
        axis.errorbar(point.parameters, point.score, point.std, label=point.label, **look)


def _title(column: Column) -> str:
    return " ".join(filter(None, [column.title, column.subtitle]))


def curve_figures(tables: Sequence[Table]) -> list[Picture]:
    """One figure per model, a panel per task."""
    found = []
    for table in tables:
        columns = list({column.task: column for column in table.columns if column.headline}.values())
        shown = {
            c: curves
            for c in columns
            if (curves := {i: k for i, r in enumerate(table.rows) if (k := _curve(r, c))})
        }
        if shown:
            found.append(_curve_picture(table, shown))
    return found


def _curve(row: Row, column: Column) -> Curve:
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


def _curve_picture(table: Table, shown: dict[Column, dict[int, Curve]]) -> Picture:
    caption = f"{table.title}: headline score by epoch. Line: mean over seeds; band: lowest to highest seed."
    alt = f"Learning curves on {', '.join(column.title for column in shown)}."
    labels = [row.label for row in table.rows]
    return picture(
        file_name("curves", table.model), table.subject, caption, alt, lambda: _draw_curves(shown, labels)
    )


def _draw_curves(shown: dict[Column, dict[int, Curve]], labels: Sequence[str]) -> Figure:
    figure, axes = panels(len(shown), 2.7, 2.2, columns=3)
    for axis, (column, curves) in zip(axes, shown.items(), strict=True):
        for position, curve in curves.items():
            epochs = list(curve)
            style = line_style(position)
            means = [sum(values) / len(values) for values in curve.values()]
            every = max(1, len(epochs) // 8)
            axis.plot(epochs, means, markevery=every, label=labels[position], **style)
            axis.fill_between(epochs, *_band(curve), color=style["color"], alpha=0.15, linewidth=0)
        axis.set(title=f"{column.title} {column.subtitle}", xlabel="epoch")
        if all(epoch == int(epoch) for curve in curves.values() for epoch in curve):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes)
    return figure


def _band(curve: Curve) -> tuple[list[float], list[float]]:
    return [min(values) for values in curve.values()], [max(values) for values in curve.values()]
