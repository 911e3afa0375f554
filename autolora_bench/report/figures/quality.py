"""How good the methods are: score against parameters, with the front that nothing beats in both, and score by epoch.

And score against learning rate, which says where each method is best and how much its rate matters.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autolora_bench.report import numerals
from autolora_bench.report.figures.grid import panels
from autolora_bench.report.figures.style import (
    MIDDLE,
    Picture,
    file_name,
    label_ends,
    label_points,
    line_style,
    logarithmic,
    picture,
    room_at_right,
    shortened,
)
from autolora_bench.report.palette import Look, looks, looks_of
from autolora_bench.report.quality import Curve, Point, column_title, curve_of, curve_title, front, points_of
from autolora_bench.report.scoreboard import Column, Table
from autolora_bench.report.tuning import TunedCell


def pareto_figures(tables: Sequence[Table]) -> list[Picture]:
    """One figure per model: a panel per headline score, and the average."""
    found = []
    for table in tables:
        columns = [column for column in table.columns if column.headline or column.is_average]
        shown = {column: points for column in columns if len(points := points_of(table, column)) > 1}
        if shown:
            found.append(_picture(table, shown))
    return found


def _picture(table: Table, shown: dict[Column, list[Point]]) -> Picture:
    caption = (
        f"{table.title}: score against parameters that the method trains, without the head. Bars: standard deviation "
        "over seeds. Line: no method is better with fewer parameters."
    )
    chosen = {c: front(points, higher_is_better=c.metric.higher_is_better) for c, points in shown.items()}
    parts = [
        f"{column_title(column)}. {'; '.join(_told(column, point) for point in points)}. "
        f"On the front: {'; '.join(point.label for point in chosen[column])}."
        for column, points in shown.items()
    ]
    alt = f"Scatter plot of score against millions of parameters. {' '.join(parts)}"
    return picture(file_name("pareto", table.model), table.subject, caption, alt, lambda: _draw(table, shown))


def _told(column: Column, point: Point) -> str:
    return f"{point.label}: {column.written(point.score)} at {numerals.millions(point.size * 1e6)}"


def _draw(table: Table, shown: dict[Column, list[Point]]) -> Figure:
    names = shortened(row.label for row in table.rows)
    _, high = room_at_right(names.values())
    figure, enough = _scatter(table, shown, names, max(2.05, high / 1.5))
    return figure if enough else _scatter(table, shown, names, high)[0]


def _scatter(
    table: Table, shown: dict[Column, list[Point]], names: Mapping[str, str], high: float
) -> tuple[Figure, bool]:
    """With panels so many inches high, and whether that is enough for all names."""
    titles = [column_title(column) for column in shown]
    figure, axes = panels(titles, 2.25, high, columns=2, right=room_at_right(names.values())[0])
    enough = True
    looks = looks_of(table.rows)
    sizes = [point.size for points in shown.values() for point in points]
    limits = (min(sizes) / 1.5, max(sizes) * 1.5)
    for axis, (column, points) in zip(axes, shown.items(), strict=True):
        axis.set_xlim(*limits)
        logarithmic(axis, "x")
        axis.set_xlabel("parameters, millions")
        line = front(points, higher_is_better=column.metric.higher_is_better)
        axis.plot(
            [p.size for p in line],
            [p.score for p in line],
            color=MIDDLE,
            linewidth=1.0,
            drawstyle="steps-post",
        )
        for point in points:
            look = {**line_style(looks[point.position]), "linestyle": "none", "markerfacecolor": "none"}
            axis.errorbar(point.size, point.score, point.std, **look)
        ordered = sorted(points, key=lambda point: point not in line)
        named = [(names[p.label], p.size, p.score, looks[p.position].colour) for p in ordered]
        enough &= label_points(axis, named)
    return figure, enough


def curve_figures(tables: Sequence[Table]) -> list[Picture]:
    """One figure per model, a panel per task."""
    found = []
    for table in tables:
        columns = list({column.task: column for column in table.columns if column.headline}.values())
        shown = {
            c: curves
            for c in columns
            if (curves := {i: k for i, r in enumerate(table.rows) if (k := curve_of(r, c))})
        }
        if shown:
            found.append(_curve_picture(table, shown))
    return found


def _curve_picture(table: Table, shown: dict[Column, dict[int, Curve]]) -> Picture:
    caption = f"{table.title}: headline score by epoch. Line: mean over seeds; band: lowest to highest seed."
    alt = f"Learning curves on {', '.join(column.title for column in shown)}."
    return picture(
        file_name("curves", table.model), table.subject, caption, alt, lambda: _draw_curves(table, shown)
    )


def _draw_curves(table: Table, shown: dict[Column, dict[int, Curve]]) -> Figure:
    names = shortened(row.label for row in table.rows)
    across, high = room_at_right(names.values())
    titles = [curve_title(table.rows[next(iter(curves))], column) for column, curves in shown.items()]
    figure, axes = panels(titles, 1.65, max(1.45, high), columns=2, right=across)
    looks = looks_of(table.rows)
    for axis, curves in zip(axes, shown.values(), strict=True):
        ends = []
        for position, curve in curves.items():
            style = line_style(looks[position])
            epochs, means = list(curve), [fmean(values) for values in curve.values()]
            every = max(1, len(epochs) // 8)
            axis.plot(epochs, means, markevery=every, **style)
            axis.fill_between(epochs, *_band(curve), color=style["color"], alpha=0.12, linewidth=0)
            ends.append((names[table.rows[position].label], epochs[-1], means[-1], style["color"]))
        axis.set_xlabel("epoch")
        if all(epoch == int(epoch) for curve in curves.values() for epoch in curve):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        label_ends(axis, ends)
    return figure


def _band(curve: Curve) -> tuple[list[float], list[float]]:
    return [min(values) for values in curve.values()], [max(values) for values in curve.values()]


def rate_figures(cells: Sequence[TunedCell]) -> list[Picture]:
    """One figure per model, a panel per task; none where nothing was tuned."""
    return [
        _rate_picture(model, [cell for cell in cells if cell.model == model])
        for model in dict.fromkeys(cell.model for cell in cells)
    ]


def _rate_picture(model: str, cells: Sequence[TunedCell]) -> Picture:
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    caption = (
        f"Tuning of {model}: headline score on held-out training data after the last epoch, by learning rate. "
        "A filled point is the rate that was chosen; a rate that diverged has no point."
    )
    alt = f"Score against learning rate on {', '.join(tasks)}, a curve per method."
    families = {cell.label: cell.family for cell in cells}
    styles = dict(zip(families, looks(list(families.values())), strict=True))
    subject = f"Learning rates: {model}"
    return picture(
        file_name("rates", model), subject, caption, alt, lambda: _draw_rates(tasks, cells, styles)
    )


def _draw_rates(tasks: Sequence[str], cells: Sequence[TunedCell], styles: Mapping[str, Look]) -> Figure:
    names = shortened(styles)
    across, high = room_at_right(names.values())
    figure, axes = panels(tasks, 1.85, max(1.65, high), columns=2, right=across)
    for axis, task in zip(axes, tasks, strict=True):
        axis.set_xlabel("learning rate")
        ends = []
        for cell in (one for one in cells if one.task == task):
            points = [(rate, score) for rate, score in cell.trials.items() if score is not None]
            style = {**line_style(styles[cell.label]), "markerfacecolor": "none"}
            axis.plot([rate for rate, _ in points], [score for _, score in points], **style)
            ends += [(names[cell.label], *point, style["color"]) for point in points[-1:]]
            for rate, score in points:
                if rate == cell.chosen:
                    axis.plot(rate, score, **{**style, "markerfacecolor": style["color"]})
        logarithmic(axis, "x")
        label_ends(axis, ends)
    return figure
