"""The searches: how selection weights moved, how good the hypergradient's estimator was, and stability over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from autolora_bench.report.artefacts import DRAWN_POINTS, evenly
from autolora_bench.report.collect import Identity
from autolora_bench.report.figures.grid import Grid, Scale, panels
from autolora_bench.report.figures.style import (
    DARK,
    EDGE,
    MIDDLE,
    PALE,
    TITLE,
    Picture,
    file_name,
    label_ends,
    line_style,
    logarithmic,
    picture,
    room_at_left,
    room_at_right,
    row_height,
    shortened,
    wrapped,
)
from autolora_bench.report.palette import looks_of
from autolora_bench.report.scoreboard import Table, seeds_of
from autolora_bench.report.search_lines import QUANTITIES, Line, Trajectory, estimator_lines, trajectories_of
from autolora_bench.report.stability import CellStability

STROKES: dict[str, dict[str, Any]] = {
    "ticks": {"colors": "#dddddd", "linewidths": 0.6},
    "level": {"colors": MIDDLE, "linewidths": 0.8, "linestyles": ":"},
    "dropped": {"colors": MIDDLE, "linewidths": 0.7},
    "kept": {"colors": DARK, "linewidths": 1.0},
    "frame": {"colors": "black", "linewidths": 0.8},
}
"""The lines of a search's panels, from the lowest to the uppermost."""
TITLE_LETTERS = 19
"""Letters above a panel."""


def trajectory_figures(
    tables: Sequence[Table], folders: Mapping[Identity, Path]
) -> tuple[list[Picture], list[str]]:
    """One figure per cell that left a trajectory, of its lowest seed; and a line per file that cannot be read."""
    found, problems = trajectories_of(tables, folders)
    return [_picture(one) for one in found], problems


def _picture(found: Trajectory) -> Picture:
    path, grid = found.path, found.grid
    layers, components = path.alpha.shape[1:]
    count = sum(len(line) for line in grid)
    thinned = "" if count == layers else f" {count} of {layers} layers are shown."
    caption = f"Selection weights (alpha) of {components} components over the steps of the search.{found.told}{thinned}"
    end = path.alpha[-1]
    alt = f"Alpha by step for {count} layers; at the end from {end.min():.3f} to {end.max():.3f}."
    table, seed = found.table, found.run.seed
    name = file_name("trajectory", table.model, found.task, found.label, f"seed{seed}")
    subject = f"{found.label}; {table.model}; {table.named(found.task)}; seed {seed}"
    return picture(name, subject, caption, alt, lambda: _draw(found))


def _draw(found: Trajectory) -> Figure:
    layers = found.grid
    points = evenly(len(found.path.steps), DRAWN_POINTS)
    steps, alpha = found.path.steps[points], found.path.alpha[points]
    shown = alpha[:, [layer for line in layers for _, layer in line]]
    grid = Grid(
        across=max(len(line) for line in layers),
        down=len(layers),
        width=1.35,
        height=1.1,
        left=0.75,
        bottom=0.5,
        right=EDGE,
        top=TITLE,
        apart=(0.2, 0.4),
    )
    figure, axes = grid.figure()
    across = Scale(float(steps.min()), float(steps.max()), grid.width)
    ends = [shown.min(), shown.max(), *([] if found.level is None else [found.level])]
    upwards = Scale(float(min(ends)), float(max(ends)), grid.height)
    few = 4 if across.high < 100_000 else 2  # longer numbers would touch
    below, beside = across.ticks(few, whole=True), upwards.ticks(5)
    frame = _frame(grid, below, beside, None if found.level is None else float(upwards.place(found.level)))
    strokes: dict[str, list[NDArray[np.float64]]] = {name: [] for name in STROKES}
    for row, line in enumerate(layers):
        for column, (title, layer) in enumerate(line):
            corner = np.array(grid.corner(row, column))
            kept = np.zeros(alpha.shape[2], bool) if found.kept is None else found.kept[layer]
            for component, dark in enumerate(kept):
                path = np.column_stack([across.place(steps), upwards.place(alpha[:, layer, component])])
                strokes["kept" if dark else "dropped"].append(corner + path)
            for name, own in frame.items():
                strokes[name] += [np.add(corner, stroke) for stroke in own]
            axes.text(corner[0] + grid.width / 2, corner[1] + grid.height + 0.05, _end_of(title), ha="center")
            if column == 0:
                for place, name in beside:
                    axes.text(corner[0] - 0.05, corner[1] + place, name, ha="right", va="center", fontsize=7)
            if row + 1 == len(layers) or column >= len(layers[row + 1]):
                for place, name in below:
                    axes.text(corner[0] + place, corner[1] - 0.05, name, ha="center", va="top", fontsize=7)
    for name, lines in strokes.items():
        axes.add_collection(LineCollection(lines, **STROKES[name]), autolim=False)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("alpha", fontsize=9)
    return figure


def _end_of(title: str) -> str:
    """What fits above a panel; the end of a module's name tells it apart."""
    return title if len(title) <= TITLE_LETTERS else f"\N{HORIZONTAL ELLIPSIS}{title[1 - TITLE_LETTERS :]}"


def _frame(
    grid: Grid, below: Sequence[tuple[float, str]], beside: Sequence[tuple[float, str]], level: float | None
) -> dict[str, list[Any]]:
    """Axes, lines at the ticks and the level of one panel, in inches from its corner."""
    wide, high = grid.width, grid.height
    return {
        "frame": [((0.0, high), (0.0, 0.0), (wide, 0.0))],
        "ticks": [
            *(((place, 0.0), (place, high)) for place, _ in below),
            *(((0.0, place), (wide, place)) for place, _ in beside),
        ],
        "level": [] if level is None else [((0.0, level), (wide, level))],
    }


def estimator_figures(tables: Sequence[Table]) -> list[Picture]:
    """One figure per model whose searches logged diagnostics; a line per row, task and seed, seeds drawn alike."""
    found = []
    for table in tables:
        runs = estimator_lines(table)
        if runs:
            found.append(_estimator_picture(table, runs))
    return found


def _estimator_picture(table: Table, runs: list[tuple[int, str, dict[str, Line]]]) -> Picture:
    caption = (
        f"{table.title}: the hypergradient's estimator at a few steps of the search. Cosine to the hypergradient "
        "that differentiates through the optimizer step, and the size of the estimator's two terms. A line per seed."
    )
    last = [line["cosine"][-1][1] for _, _, line in runs if "cosine" in line]
    alt = f"Three panels over {len(runs)} runs" + (
        f"; last cosine from {min(last):.4f} to {max(last):.4f}." if last else "."
    )
    return picture(
        file_name("estimator", table.model), table.subject, caption, alt, lambda: _draw_estimator(table, runs)
    )


def _draw_estimator(table: Table, runs: list[tuple[int, str, dict[str, Line]]]) -> Figure:
    groups = list(dict.fromkeys(label for _, label, _ in runs))
    names = shortened(groups)
    across, high = room_at_right(names.values())
    figure, axes = panels(list(QUANTITIES.values()), 1.65, max(1.45, high), columns=2, right=across)
    looks = looks_of(table.rows)
    for axis, name in zip(axes, QUANTITIES, strict=True):
        ends = {}
        for row, label, lines in runs:
            if name in lines:
                steps, values = zip(*lines[name], strict=True)
                style = line_style(looks[row])
                axis.plot(steps, values, **style)
                if name == "cosine" or values[-1] > 0:  # nought has no place on a logarithmic axis
                    ends[label] = (names[label], steps[-1], values[-1], style["color"])
        axis.set_xlabel("step")
        _scales(axis, name)
        label_ends(axis, list(ends.values()))
    return figure


def _scales(axis: Any, name: str) -> None:
    logarithmic(axis, "x")
    if name == "cosine":
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, 0.0), max(high, 1.02))
    else:
        logarithmic(axis, "y")


def stability_figures(cells: Sequence[CellStability]) -> list[Picture]:
    """One figure over all cells with two seeds or more."""
    shown = [cell for cell in cells if cell.figures.seeds > 1]
    if not shown:
        return []
    caption = (
        "Stability of the search over seeds. Left: Pearson correlation of ranks over layers, mean over pairs of seeds. "
        "Middle: that of alphas. Right: share of components that two seeds both keep or both drop, the tick is chance. "
        "Pale: components have no identity across seeds (initialisation not shared), so only the left panel counts."
    )
    parts = [
        f"{_name(c)}: ranks {_say(c.figures.rank_pearson)}, alphas {_say(c.figures.alpha_pearson)}"
        for c in shown
    ]
    models = dict.fromkeys(cell.model for cell in shown)
    seeds = dict.fromkeys(seeds_of(cell.seeds) for cell in shown)
    named = f"Stability of the search over seeds: {', '.join(models)}"
    subject = f"{named}; {'; '.join(dict.fromkeys(c.data for c in shown))}; {' or '.join(seeds)}"
    return [
        picture("stability", subject, caption, f"Bars. {'; '.join(parts)}.", lambda: _draw_stability(shown))
    ]


def _draw_stability(cells: Sequence[CellStability]) -> Figure:
    labels = [wrapped(_name(cell)) for cell in cells]
    titles = ("ranks, correlation", "alphas, correlation", "kept alike; tick: chance")
    figure, axes = panels(titles, 1.75, row_height(labels) * len(cells), names=room_at_left(labels))
    values = (
        [cell.figures.rank_pearson for cell in cells],
        [cell.figures.alpha_pearson for cell in cells],
        [cell.figures.kept_agreement for cell in cells],
    )
    pale = [not cell.figures.shared for cell in cells]
    for number, (axis, series) in enumerate(zip(axes, values, strict=True)):
        _bars(axis, series, [number > 0 and faint for faint in pale])
        axis.set(xlim=(0, 1) if number == 2 else (-1, 1), ylim=(len(cells) - 0.5, -0.5))
        axis.set_yticks(range(len(cells)), labels if number == 0 else [])
    for place, cell in enumerate(cells):
        if cell.figures.kept_chance is not None:
            axes[2].plot(
                cell.figures.kept_chance, place, marker="|", color="#000000", markersize=14, markeredgewidth=2
            )
    return figure


def _bars(axis: Any, values: Sequence[float | None], pale: Sequence[bool]) -> None:
    axis.axvline(0, color=DARK, linewidth=0.8)
    for place, (value, faint) in enumerate(zip(values, pale, strict=True)):
        if value is None:
            axis.text(0.02, place, "not defined", va="center", fontsize=7)
        else:
            axis.barh(place, value, color=PALE if faint else MIDDLE)


def _name(cell: CellStability) -> str:
    return f"{cell.task}, {cell.label}"


def _say(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.2f}"
