"""The searches: how the selection weights moved, and how good the hypergradient's estimator was."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord
from autolora_bench.report.collect import Identity
from autolora_bench.report.figures.style import (
    COLOURS,
    DASHES,
    Picture,
    file_name,
    legend_below,
    line_style,
    logarithmic,
    panels,
    picture,
)
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.searches import DRAWN_POINTS, SearchPath, evenly, read_search_path

Line = list[tuple[int, float]]
QUANTITIES = {
    "cosine": "cosine to the exact hypergradient",
    "direct_norm": "norm of the direct term",
    "implicit_norm": "norm of the implicit term",
}
BLOCKS = 6
"""Blocks drawn; more are thinned out evenly."""


def trajectory_figures(
    tables: Sequence[Table], folders: Mapping[Identity, Path]
) -> tuple[list[Picture], list[str]]:
    """One figure per cell that left a trajectory, of its lowest seed; and a line per file that cannot be read."""
    found: list[Picture] = []
    problems: list[str] = []
    for table in tables:
        for row in table.rows:
            for task, runs in row.by_task.items():
                first = _first(runs, folders, problems)
                if first is not None:
                    found.append(_picture(table, task, row.label, *first))
    return found, problems


def _first(
    runs: Sequence[Run], folders: Mapping[Identity, Path], problems: list[str]
) -> tuple[Run, SearchPath] | None:
    for run in sorted(runs, key=lambda run: run.seed):
        folder = folders.get(run.record.identity) if run.record else None
        if run.record is None or folder is None:
            continue
        try:
            path = read_search_path(folder, run.record)
        except UserError as error:
            problems.append(error.what)
            continue
        if path is not None and len(path.steps) > 1:
            return run, path
    return None


def _picture(table: Table, task: str, label: str, run: Run, path: SearchPath) -> Picture:
    layers, components = path.alpha.shape[1:]
    grid = _grid(run, layers)
    count = sum(len(line) for line in grid)
    thinned = "" if count == layers else f" {count} of {layers} layers are shown."
    caption = (
        f"Selection weights (alpha) of {components} components over the steps of the search. "
        f"Grey: 1/{components}.{thinned}"
    )
    end = path.alpha[-1]
    alt = f"Alpha by step for {count} layers; at the end from {end.min():.3f} to {end.max():.3f}."
    name = file_name("trajectory", table.model, task, label, f"seed{run.seed}")
    subject = f"{label}; {table.model}; {table.named(task)}; seed {run.seed}"
    return picture(name, subject, caption, alt, lambda: _draw(path, grid))


def _grid(run: Run, layers: int) -> list[list[tuple[str, int]]]:
    """Titles and positions of the layers to draw: a line per projection, blocks evenly spread."""
    ranks = run.record.ranks if run.record else []
    if len(ranks) != layers:
        return [[(f"layer {index}", index) for index in evenly(layers, BLOCKS)]]
    lines: dict[str, list[tuple[str, int]]] = {}
    for index, layer in enumerate(ranks):
        name = layer.module if layer.block is None else f"{layer.projection} {layer.block}"
        lines.setdefault(layer.projection, []).append((name, index))
    return [[line[position] for position in evenly(len(line), BLOCKS)] for line in lines.values()]


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
    components = alpha.shape[1]
    axis.axhline(1 / components, color="#999999", linewidth=0.8)
    for index in range(components):
        colour, dashes = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        axis.plot(steps, alpha[:, index], color=colour, linestyle=dashes, linewidth=1.0)


def estimator_figures(tables: Sequence[Table]) -> list[Picture]:
    """One figure per model whose searches logged diagnostics; a line per row, task and seed, seeds drawn alike."""
    found = []
    for table in tables:
        runs = _runs(table)
        if runs:
            found.append(_estimator_picture(table, runs))
    return found


def diagnostics(record: RunRecord) -> dict[str, Line]:
    """Quantity -> (step, value) of a run's search; points that are no finite numbers are left out."""
    phase = record.phase("search")
    points = phase.details.get("diagnostics") if phase else None
    rows = [point for point in points if isinstance(point, dict)] if isinstance(points, list) else []
    lines = {
        name: [
            (row["step"], float(row[name]))
            for row in rows
            if _is_number(row.get("step")) and _is_number(row.get(name))
        ]
        for name in QUANTITIES
    }
    return {name: line for name, line in lines.items() if line}


def _runs(table: Table) -> list[tuple[str, dict[str, Line]]]:
    found = []
    for row in table.rows:
        for task, made in row.by_task.items():
            for run in sorted(made, key=lambda run: run.seed):
                lines = diagnostics(run.completed) if run.completed else {}
                if lines:
                    found.append((f"{row.label}, {task}", lines))
    return found


def _estimator_picture(table: Table, runs: list[tuple[str, dict[str, Line]]]) -> Picture:
    caption = (
        f"{table.title}: the hypergradient's estimator at a few steps of the search. Cosine to the hypergradient "
        "that differentiates through the optimizer step, and the size of the estimator's two terms. A line per seed."
    )
    last = [line["cosine"][-1][1] for _, line in runs if "cosine" in line]
    alt = f"Three panels over {len(runs)} runs" + (
        f"; last cosine from {min(last):.4f} to {max(last):.4f}." if last else "."
    )
    return picture(
        file_name("estimator", table.model), table.subject, caption, alt, lambda: _draw_estimator(runs)
    )


def _draw_estimator(runs: list[tuple[str, dict[str, Line]]]) -> Figure:
    figure, axes = panels(len(QUANTITIES), 3.0, 2.2, columns=3)
    groups = list(dict.fromkeys(label for label, _ in runs))
    for axis, (name, title) in zip(axes, QUANTITIES.items(), strict=True):
        for label, lines in runs:
            if name in lines:
                steps, values = zip(*lines[name], strict=True)
                axis.plot(steps, values, label=label, **line_style(groups.index(label)))
        axis.set(title=title, xlabel="step")
        _scales(axis, name)
    legend_below(figure, axes)
    return figure


def _scales(axis: Any, name: str) -> None:
    logarithmic(axis, "x")
    if name == "cosine":
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, 0.0), max(high, 1.02))
    else:
        logarithmic(axis, "y")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
