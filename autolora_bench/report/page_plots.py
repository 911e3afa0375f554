"""The page's line charts: learning curves, tuning, and what is inside the searches."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from markupsafe import Markup

from autolora_bench.report.artefacts import DRAWN_POINTS, evenly
from autolora_bench.report.palette import Look, looks, looks_of
from autolora_bench.report.plots import Plot, PlotLine
from autolora_bench.report.quality import curve_of, curve_title
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.search_lines import QUANTITIES, Trajectory, estimator_lines
from autolora_bench.report.tuning import TunedCell

TRAJECTORIES = 3
"""A page shows the layers of so many searches; the folder of figures holds all."""


@dataclass(frozen=True)
class Panels:
    """Panels that belong together."""

    title: str
    model: str
    caption: str
    plots: tuple[tuple[str, str, Markup], ...]
    """Task (empty where a panel is of none), title and drawing."""


def curve_panels(tables: Sequence[Table]) -> list[Panels]:
    """Headline score by epoch, a panel per task."""
    found = []
    for table in tables:
        shapes = [_kind(look) for look in looks_of(table.rows)]
        plots = []
        for column in {column.task: column for column in table.columns if column.headline}.values():
            lines = []
            for row, kind in zip(table.rows, shapes, strict=True):
                curve = curve_of(row, column)
                if curve:
                    points = tuple((epoch, fmean(values)) for epoch, values in curve.items())
                    band = tuple((min(values), max(values)) for values in curve.values())
                    seeds = max(map(len, curve.values()))
                    lines.append(PlotLine(row.label, points, kind, band if seeds > 1 else ()))
            if lines:
                title = next(curve_title(row, column) for row in table.rows if curve_of(row, column))
                plots.append((column.task, title, Plot(title, "epoch", tuple(lines)).svg()))
        if plots:
            caption = "Headline score after every epoch. Line: mean over seeds; band: lowest to highest seed."
            found.append(Panels("Learning curves", table.model, caption, tuple(plots)))
    return found


def rate_panels(cells: Sequence[TunedCell]) -> list[Panels]:
    """Held-out score by learning rate, a panel per task."""
    found = []
    for model in dict.fromkeys(cell.model for cell in cells):
        own = [cell for cell in cells if cell.model == model]
        families = {cell.label: cell.family for cell in own}
        shapes = looks(list(families.values()))
        kinds = {label: _kind(look) for label, look in zip(families, shapes, strict=True)}
        plots = []
        for task in dict.fromkeys(cell.task for cell in own):
            lines = []
            for cell in (one for one in own if one.task == task):
                points = tuple((rate, score) for rate, score in cell.trials.items() if score is not None)
                chosen = tuple(point for point in points if point[0] == cell.chosen)
                lines.append(PlotLine(cell.label, points, kinds[cell.label], filled=chosen))
            if any(line.points for line in lines):
                plots.append((task, task, Plot(task, "learning rate", tuple(lines), log_x=True).svg()))
        if plots:
            caption = (
                "Headline score on held-out training data after the last epoch, by learning rate. A point is the rate "
                "that was chosen; a rate that diverged has none."
            )
            found.append(Panels("Tuning of the learning rate", model, caption, tuple(plots)))
    return found


def estimator_panels(tables: Sequence[Table]) -> list[Panels]:
    """The hypergradient's estimator at a few steps of every search, a panel per quantity."""
    found = []
    for table in tables:
        runs = estimator_lines(table)
        shapes = [_kind(look) for look in looks_of(table.rows)]
        plots = []
        for name, title in QUANTITIES.items():
            lines: list[PlotLine] = []
            for row, label, own in runs:
                if name in own:
                    told = label if label not in {line.label for line in lines} else ""
                    lines.append(PlotLine(told, tuple(own[name]), shapes[row]))
            if lines:
                logarithmic = name != "cosine"
                level = None if logarithmic else 1.0
                plot = Plot(title, "step", tuple(lines), log_x=True, log_y=logarithmic, level=level)
                plots.append(("", title, plot.svg()))
        if plots:
            caption = (
                "The hypergradient's estimator at a few steps of the search: cosine to the hypergradient that "
                "differentiates through the optimizer step, and the size of the estimator's two terms. A line per seed."
            )
            found.append(Panels("Estimator of the hypergradient", table.model, caption, tuple(plots)))
    return found


def trajectory_panels(found: Sequence[Trajectory]) -> list[Panels]:
    """Selection weights over the steps of the first searches, a panel per layer."""
    return [_trajectory(one) for one in found[:TRAJECTORIES]]


def _trajectory(found: Trajectory) -> Panels:
    path = found.path
    components = path.alpha.shape[2]
    points = evenly(len(path.steps), DRAWN_POINTS)
    steps = path.steps[points].tolist()
    plots = []
    for title, layer in (place for line in found.grid for place in line):
        alpha = path.alpha[points, layer]
        kept = np.zeros(components, bool) if found.kept is None else found.kept[layer]
        lines = tuple(
            PlotLine(
                "", tuple(zip(steps, alpha[:, n].tolist(), strict=True)), "kept" if kept[n] else "dropped"
            )
            for n in range(components)
        )
        plots.append((found.task, title, Plot(title, "step", lines, level=found.level).svg()))
    caption = (
        f"Selection weights (alpha) of the {components} components of each layer, {found.task}, seed {found.run.seed}."
        f"{found.told}"
    )
    title = f"Search of {found.label}, {found.task}"
    return Panels(title, found.table.model, caption, tuple(plots))


def _kind(look: Look) -> str:
    return f"s{look.shade} d{look.marker}"
