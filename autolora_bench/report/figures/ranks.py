"""Ranks over blocks and projections, as heat maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from autolora_bench.report.figures.style import HEAT, Picture, file_name, picture
from autolora_bench.report.rank_maps import RankMap, RowRanks, rank_maps
from autolora_bench.report.scoreboard import Table


def rank_figures(tables: Sequence[Table], published: Path | None = None) -> list[Picture]:
    """One figure per row of ours whose layers differ in rank, a line of panels per task."""
    return [_picture(found) for found in rank_maps(tables, published)]


def _picture(found: RowRanks) -> Picture:
    pairs = [(ours, found.beside.get(task)) for task, ours in found.maps.items()]
    beside = (
        " Beside them, where there are any, the ranks the authors published."
        if any(t for _, t in pairs)
        else ""
    )
    caption = f"Ranks by block and projection; darker is higher.{beside}"
    spread = [rank for ours, _ in pairs for rank in ours.ranks.values()]
    label, table = found.row.label, found.table
    alt = f"Heat map of ranks of {label} on {', '.join(found.maps)}: from {min(spread):.3g} to {max(spread):.3g}."
    return picture(
        file_name("ranks", table.model, label),
        f"{label}; {table.subject}",
        caption,
        alt,
        lambda: _draw(pairs),
    )


def _draw(pairs: Sequence[tuple[RankMap, RankMap | None]]) -> Figure:
    across = 2 if any(theirs for _, theirs in pairs) else 1
    blocks = max(len(ours.blocks) for ours, _ in pairs)
    deepest = max(len(ours.projections) for ours, _ in pairs)
    size = (across * max(3.0, 0.33 * blocks + 1.1), len(pairs) * (0.42 * deepest + 0.75))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(pairs), across, squeeze=False)
    top = max(rank for pair in pairs for one in pair if one for rank in one.ranks.values())
    for line, pair in zip(axes, pairs, strict=True):
        for axis, one in zip(line, pair, strict=False):
            _heat(axis, one, top)
    return figure


def _heat(axis: Any, ranks: RankMap | None, top: float) -> None:
    if ranks is None:
        axis.set_visible(False)
        return
    colours = mpl.colormaps[HEAT]
    axis.grid(visible=False)
    for x, block in enumerate(ranks.blocks):
        for y, projection in enumerate(ranks.projections):
            rank = ranks.ranks.get((block, projection))
            if rank is not None:
                _square(axis, x, y, rank, colours(0.05 + 0.9 * rank / max(top, 1.0)), dark=rank > 0.6 * top)
    axis.set(
        xlim=(-0.5, len(ranks.blocks) - 0.5), ylim=(len(ranks.projections) - 0.5, -0.5), title=ranks.title
    )
    axis.set_xticks(range(len(ranks.blocks)), [str(block) for block in ranks.blocks])
    axis.set_yticks(range(len(ranks.projections)), ranks.projections)
    axis.tick_params(length=0)
    axis.set_xlabel("block")


def _square(axis: Any, x: int, y: int, rank: float, colour: Any, *, dark: bool) -> None:
    axis.add_patch(mpl.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
    text = f"{rank:.0f}" if rank == round(rank) else f"{rank:.1f}"
    axis.text(x, y, text, ha="center", va="center", fontsize=7, color="white" if dark else "#1b1f24")
