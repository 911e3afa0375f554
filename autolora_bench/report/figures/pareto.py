"""Score against parameters, with the front of methods that nothing beats in both."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from autolora_bench.report.columns import Column
from autolora_bench.report.figures.style import (
    file_name,
    legend_below,
    line_style,
    logarithmic,
    panels,
    picture,
)
from autolora_bench.report.picture import Picture
from autolora_bench.report.scoreboard import Table


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
