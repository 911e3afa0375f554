"""Learning curves: the headline score of every epoch."""

from collections import defaultdict
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autolora_bench.report.columns import Column
from autolora_bench.report.figures.style import file_name, legend_below, line_style, panels, picture
from autolora_bench.report.picture import Picture
from autolora_bench.report.scoreboard import Row, Table

Curve = dict[float, list[float]]
"""Epoch -> scores of the seeds, in the published unit."""


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
            found.append(_picture(table, shown))
    return found


def _curve(row: Row, column: Column) -> Curve:
    """Scores by epoch; only where there are two epochs to join."""
    curve: Curve = defaultdict(list)
    for entry in row.cells[column].entries:
        history = entry.completed.history if entry.completed else []
        split = column.split if column.epoch != "kept" else next((e.split for e in history), "")
        for evaluation in history:
            value = evaluation.scores.get(column.score)
            if evaluation.split == split and value is not None:
                curve[evaluation.epoch].append(value * column.metric.published_scale)
    return dict(sorted(curve.items())) if len(curve) > 1 else {}


def _picture(table: Table, shown: dict[Column, dict[int, Curve]]) -> Picture:
    caption = f"{table.title}: headline score by epoch. Line: mean over seeds; band: lowest to highest seed."
    alt = f"Learning curves on {', '.join(column.title for column in shown)}."
    labels = [row.label for row in table.rows]
    return picture(
        file_name("curves", table.model), table.subject, caption, alt, lambda: _draw(shown, labels)
    )


def _draw(shown: dict[Column, dict[int, Curve]], labels: Sequence[str]) -> Figure:
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
