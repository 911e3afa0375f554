"""Stability of the search over seeds, as bars."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from autolora_bench.report.figures.style import (
    DARK,
    MIDDLE,
    PALE,
    Picture,
    panels,
    picture,
    row_height,
    wrapped,
)
from autolora_bench.report.scoreboard import seeds_of
from autolora_bench.report.stability import CellStability


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
    return [picture("stability", subject, caption, f"Bars. {'; '.join(parts)}.", lambda: _draw(shown))]


def _draw(cells: Sequence[CellStability]) -> Figure:
    labels = [wrapped(_name(cell)) for cell in cells]
    figure, axes = panels(3, 2.8, row_height(labels) * len(cells) + 0.5, columns=3)
    values = (
        [cell.figures.rank_pearson for cell in cells],
        [cell.figures.alpha_pearson for cell in cells],
        [cell.figures.kept_agreement for cell in cells],
    )
    titles = ("ranks, correlation", "alphas, correlation", "kept alike; tick: chance")
    pale = [not cell.figures.shared for cell in cells]
    for number, (axis, series, title) in enumerate(zip(axes, values, titles, strict=True)):
        _bars(axis, series, [number > 0 and faint for faint in pale])
        axis.set(title=title, xlim=(0, 1) if number == 2 else (-1, 1))
        axis.set_yticks(range(len(cells)), labels if number == 0 else [])
        axis.invert_yaxis()
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
