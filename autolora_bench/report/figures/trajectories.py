"""How the selection weights of a search moved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from autolora_bench.errors import UserError
from autolora_bench.report.artefacts import DRAWN_POINTS, SearchPath, evenly, read_search_path
from autolora_bench.report.collect import Identity
from autolora_bench.report.entries import Entry
from autolora_bench.report.figures.style import COLOURS, DASHES, file_name, picture
from autolora_bench.report.picture import Picture
from autolora_bench.report.scoreboard import Table

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
            cells = {column.task: cell.entries for column, cell in row.cells.items() if cell.entries}
            for task, entries in cells.items():
                first = _first(entries, folders, problems)
                if first is not None:
                    found.append(_picture(table, task, row.label, *first))
    return found, problems


def _first(
    entries: Sequence[Entry], folders: Mapping[Identity, Path], problems: list[str]
) -> tuple[Entry, SearchPath] | None:
    for entry in sorted(entries, key=lambda entry: entry.seed):
        folder = folders.get(entry.record.identity) if entry.record else None
        if entry.record is None or folder is None:
            continue
        try:
            path = read_search_path(folder, entry.record)
        except UserError as error:
            problems.append(error.what)
            continue
        if path is not None and len(path.steps) > 1:
            return entry, path
    return None


def _picture(table: Table, task: str, label: str, entry: Entry, path: SearchPath) -> Picture:
    layers, components = path.alpha.shape[1:]
    grid = _grid(entry, layers)
    count = sum(len(line) for line in grid)
    thinned = "" if count == layers else f" {count} of {layers} layers are shown."
    caption = (
        f"Selection weights (alpha) of {components} components over the steps of the search. "
        f"Grey: 1/{components}.{thinned}"
    )
    end = path.alpha[-1]
    alt = f"Alpha by step for {count} layers; at the end from {end.min():.3f} to {end.max():.3f}."
    name = file_name("trajectory", table.model, task, label, f"seed{entry.seed}")
    subject = f"{label}; {table.model}; {table.named(task)}; seed {entry.seed}"
    return picture(name, subject, caption, alt, lambda: _draw(path, grid))


def _grid(entry: Entry, layers: int) -> list[list[tuple[str, int]]]:
    """Titles and positions of the layers to draw: a line per projection, blocks evenly spread."""
    ranks = entry.record.ranks if entry.record else []
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
