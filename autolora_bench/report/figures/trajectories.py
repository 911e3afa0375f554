"""How the selection weights of a search moved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from autolora_bench.errors import UserError
from autolora_bench.report.artefacts import SearchPath, read_search_path
from autolora_bench.report.collect import Identity
from autolora_bench.report.entries import Entry
from autolora_bench.report.figures.style import COLOURS, DASHES, file_name, panels, picture
from autolora_bench.report.picture import Picture
from autolora_bench.report.scoreboard import Table

PANELS = 24
"""More layers than this are thinned out evenly."""
POINTS = 60
"""Points drawn per line."""


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
                    found.append(_picture(table.model, task, row.label, *first))
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


def _picture(model: str, task: str, label: str, entry: Entry, path: SearchPath) -> Picture:
    layers, components = path.alpha.shape[1:]
    names = _names(entry, layers)
    shown = np.unique(np.linspace(0, layers - 1, min(layers, PANELS)).round().astype(int))
    thinned = "" if len(shown) == layers else f" {len(shown)} of {layers} layers are shown."
    caption = (
        f"Selection weights (alpha) of {components} components over the search: {label}, {task}, {model}, "
        f"seed {entry.seed}. Grey: 1/{components}.{thinned}"
    )
    end = path.alpha[-1]
    alt = f"Alpha by step for {len(shown)} layers; at the end from {end.min():.3f} to {end.max():.3f}."
    name = file_name("trajectory", model, task, label, f"seed{entry.seed}")
    return picture(name, caption, alt, lambda: _draw(path, shown, names))


def _names(entry: Entry, layers: int) -> list[str]:
    """`block projection`, from the record's ranks where they name as many layers."""
    ranks = entry.record.ranks if entry.record else []
    if len(ranks) != layers:
        return [f"layer {index}" for index in range(layers)]
    return [layer.module if layer.block is None else f"{layer.block} {layer.projection}" for layer in ranks]


def _draw(path: SearchPath, shown: NDArray[np.int64], names: Sequence[str]) -> Figure:
    figure, axes = panels(len(shown), 1.75, 1.25, columns=6)
    points = np.unique(np.linspace(0, len(path.steps) - 1, min(len(path.steps), POINTS)).round().astype(int))
    low, high = float(path.alpha.min()), float(path.alpha.max())
    margin = 0.05 * (high - low or 1.0)
    for place, (axis, layer) in enumerate(zip(axes, shown, strict=True)):
        _lines(axis, path.steps[points], path.alpha[points, layer])
        axis.set(title=names[layer], ylim=(low - margin, high + margin))
        axis.tick_params(labelsize=7, labelleft=place % 6 == 0)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("alpha", fontsize=9)
    return figure


def _lines(axis: Any, steps: NDArray[np.int64], alpha: NDArray[np.float64]) -> None:
    components = alpha.shape[1]
    axis.axhline(1 / components, color="#999999", linewidth=0.8)
    for index in range(components):
        colour, dashes = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        axis.plot(steps, alpha[:, index], color=colour, linestyle=dashes, linewidth=1.0)
