"""How good the hypergradient's estimator was: cosine to the exact one, and the size of its two terms."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from autolora_bench.record import RunRecord
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

Line = list[tuple[int, float]]
QUANTITIES = {
    "cosine": "cosine to the exact hypergradient",
    "direct_norm": "norm of the direct term",
    "implicit_norm": "norm of the implicit term",
}


def estimator_figures(tables: Sequence[Table]) -> list[Picture]:
    """One figure per model whose searches logged diagnostics; a line per row, task and seed, seeds drawn alike."""
    found = []
    for table in tables:
        runs = _runs(table)
        if runs:
            found.append(_picture(table, runs))
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
        for task, entries in {c.task: cell.entries for c, cell in row.cells.items() if cell.entries}.items():
            for entry in sorted(entries, key=lambda e: e.seed):
                lines = diagnostics(entry.completed) if entry.completed else {}
                if lines:
                    found.append((f"{row.label}, {task}", lines))
    return found


def _picture(table: Table, runs: list[tuple[str, dict[str, Line]]]) -> Picture:
    caption = (
        f"{table.title}: the hypergradient's estimator at a few steps of the search. Cosine to the hypergradient "
        "that differentiates through the optimizer step, and the size of the estimator's two terms. A line per seed."
    )
    last = [line["cosine"][-1][1] for _, line in runs if "cosine" in line]
    alt = f"Three panels over {len(runs)} runs" + (
        f"; last cosine from {min(last):.4f} to {max(last):.4f}." if last else "."
    )
    return picture(file_name("estimator", table.model), table.subject, caption, alt, lambda: _draw(runs))


def _draw(runs: list[tuple[str, dict[str, Line]]]) -> Figure:
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
