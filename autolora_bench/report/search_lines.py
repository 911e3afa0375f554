"""What is drawn of a search: selection weights over its steps, and the quality of the hypergradient's estimator."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autolora_bench.config.search import Rule, level_of
from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord
from autolora_bench.report.artefacts import SearchPath, evenly, read_search_path, search_left
from autolora_bench.report.collect import Identity
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import Table

Line = list[tuple[int, float]]
QUANTITIES = {
    "cosine": "cosine to the exact hypergradient",
    "direct_norm": "norm of the direct term",
    "implicit_norm": "norm of the implicit term",
}
BLOCKS = 6
"""Blocks drawn; more are thinned out evenly."""


@dataclass(frozen=True)
class Trajectory:
    """The search of one cell, of its lowest seed that left a trajectory."""

    table: Table
    task: str
    label: str
    run: Run
    path: SearchPath
    kept: NDArray[np.bool_] | None
    """(L, K): the components that the search kept; None where its ranks are gone."""

    @property
    def level(self) -> float | None:
        """The alpha from which on a component was kept, by the rules that have one for all layers."""
        search = self.run.setting("method", "search") or {}
        with suppress(ValueError):  # a rule without, or one that is not known today
            rule = Rule(search.get("rule") or Rule.reciprocal)
            return level_of(rule, self.path.alpha.shape[2], search.get("threshold"))
        return None

    @property
    def told(self) -> str:
        """What is dark and what is dotted, for captions."""
        dark = " Which were kept is not known." if self.kept is None else " Dark: kept; pale: dropped."
        return dark + ("" if self.level is None else f" Dotted: the threshold, {self.level:.4g}.")

    @property
    def grid(self) -> list[list[tuple[str, int]]]:
        """Titles and positions of the layers to draw: a line per projection, blocks evenly spread."""
        return _grid(self.run, self.path.alpha.shape[1])


def trajectories_of(
    tables: Sequence[Table], folders: Mapping[Identity, Path]
) -> tuple[list[Trajectory], list[str]]:
    """Every cell that left a trajectory; and a line per file that cannot be read."""
    found: list[Trajectory] = []
    problems: list[str] = []
    for table in tables:
        for row in table.rows:
            for task, runs in row.by_task.items():
                first = _first(runs, folders, problems)
                if first is not None:
                    found.append(Trajectory(table, task, row.label, *first))
    return found, problems


def _first(
    runs: Sequence[Run], folders: Mapping[Identity, Path], problems: list[str]
) -> tuple[Run, SearchPath, NDArray[np.bool_] | None] | None:
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
            left = search_left(
                run.record, folders, []
            )  # what cannot be read is said where ranks are reported
            return run, path, left.kept if left and left.kept.shape == path.alpha.shape[1:] else None
    return None


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


def estimator_lines(table: Table) -> list[tuple[int, str, dict[str, Line]]]:
    """Row, its label with the task, and diagnostics of every run whose search logged some; a cell's seeds follow."""
    found = []
    for number, row in enumerate(table.rows):
        for task, made in row.by_task.items():
            for run in sorted(made, key=lambda run: run.seed):
                lines = diagnostics(run.completed) if run.completed else {}
                if lines:
                    found.append((number, f"{row.label}, {task}", lines))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
