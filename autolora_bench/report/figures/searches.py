"""The searches: how the selection weights moved, and how good the hypergradient's estimator was."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from autolora_bench.report.collect import Identity
from autolora_bench.report.figures.style import (
    DARK,
    MIDDLE,
    Picture,
    file_name,
    label_ends,
    line_style,
    logarithmic,
    panels,
    picture,
    room_for,
)
from autolora_bench.report.palette import looks_of
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.search_lines import QUANTITIES, Line, Trajectory, estimator_lines, trajectories_of
from autolora_bench.report.searches import DRAWN_POINTS, SearchPath, evenly


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
    caption = (
        f"Selection weights (alpha) of {components} components over the steps of the search. "
        f"Dark: at the end at or above 1/{components} (dotted), the paper's threshold.{thinned}"
    )
    end = path.alpha[-1]
    alt = f"Alpha by step for {count} layers; at the end from {end.min():.3f} to {end.max():.3f}."
    table, seed = found.table, found.run.seed
    name = file_name("trajectory", table.model, found.task, found.label, f"seed{seed}")
    subject = f"{found.label}; {table.model}; {table.named(found.task)}; seed {seed}"
    return picture(name, subject, caption, alt, lambda: _draw(path, grid))


def _draw(path: SearchPath, grid: list[list[tuple[str, int]]]) -> Figure:
    across = max(len(line) for line in grid)
    figure = Figure(figsize=(1.6 * across + 0.5, 1.5 * len(grid) + 0.6))
    axes = figure.subplots(len(grid), across, squeeze=False, sharex=True, sharey=True)
    points = evenly(len(path.steps), DRAWN_POINTS)
    for line, places in zip(axes, grid, strict=True):
        for axis in line[len(places) :]:
            axis.set_visible(False)
        for axis, (title, layer) in zip(line, places, strict=False):
            _lines(axis, path.steps[points], path.alpha[points, layer])
            axis.set_title(title)
            axis.tick_params(labelsize=7)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("alpha", fontsize=9)
    height = figure.get_figheight()
    figure.subplots_adjust(
        left=0.75 / figure.get_figwidth(),
        right=0.985,
        bottom=0.5 / height,
        top=1 - 0.55 / height,
        wspace=0.12,
        hspace=0.35,
    )
    return figure


def _lines(axis: Any, steps: NDArray[np.int64], alpha: NDArray[np.float64]) -> None:
    """Components that end at or above 1/k dark, the others pale below them."""
    components = alpha.shape[1]
    axis.axhline(1 / components, color=MIDDLE, linewidth=0.8, linestyle=":")
    for index in np.argsort(alpha[-1], kind="stable"):
        colour = DARK if alpha[-1, index] >= 1 / components else MIDDLE
        axis.plot(steps, alpha[:, index], color=colour, linewidth=1.0 if colour == DARK else 0.7)


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
    across, high = room_for(groups)
    size = (2.4 + across, max(2.2, high))
    figure, axes = panels(len(QUANTITIES), *size, columns=2)
    looks = looks_of(table.rows)
    for axis, (name, title) in zip(axes, QUANTITIES.items(), strict=True):
        ends = {}
        for row, label, lines in runs:
            if name in lines:
                steps, values = zip(*lines[name], strict=True)
                style = line_style(looks[row])
                axis.plot(steps, values, **style)
                if name == "cosine" or values[-1] > 0:  # nought has no place on a logarithmic axis
                    ends[label] = (label, steps[-1], values[-1], style["color"])
        axis.set(title=title, xlabel="step")
        _scales(axis, name)
        label_ends(axis, list(ends.values()), size[1])
    return figure


def _scales(axis: Any, name: str) -> None:
    logarithmic(axis, "x")
    if name == "cosine":
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, 0.0), max(high, 1.02))
    else:
        logarithmic(axis, "y")
