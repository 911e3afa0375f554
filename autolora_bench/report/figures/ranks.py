"""Ranks over blocks and projections, as heat maps."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from autolora_bench.report.figures.grid import Grid, squares
from autolora_bench.report.figures.style import EDGE, TITLE, Picture, file_name, picture, room_at_left
from autolora_bench.report.rank_maps import RankMap, RowRanks, rank_maps
from autolora_bench.report.scoreboard import Table


def rank_figures(tables: Sequence[Table]) -> list[Picture]:
    """One figure per row of ours whose layers differ in rank, a line of panels per task."""
    return [_picture(found) for found in rank_maps(tables)]


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
    shown = [one for pair in pairs for one in pair if one]
    blocks = max(len(one.blocks) for one in shown)
    deepest = max(len(one.projections) for one in shown)
    wide = max(0.33, 2.4 / blocks)
    names = room_at_left([name for one in shown for name in one.projections])
    grid = Grid(
        across=2 if any(theirs for _, theirs in pairs) else 1,
        down=len(pairs),
        width=wide * blocks,
        height=0.3 * deepest,
        left=names,
        bottom=0.45,
        right=EDGE,
        top=TITLE,
        apart=(names + 0.15, 0.75),
    )
    figure, axes = grid.figure()
    top = max(rank for one in shown for rank in one.ranks.values())
    for row, pair in enumerate(pairs):
        for column, one in enumerate(pair):
            if one:
                x, y = grid.corner(row, column)
                _heat(axes, one, (x, y + grid.height), (wide, 0.3), top)
    return figure


def _heat(
    axes: Any, ranks: RankMap, corner: tuple[float, float], size: tuple[float, float], top: float
) -> None:
    left, high = corner
    across = [left + (place + 0.5) * size[0] for place in range(len(ranks.blocks))]
    down = [high - (place + 0.5) * size[1] for place in range(len(ranks.projections))]
    found = [
        (x, y, ranks.ranks[block, projection])
        for x, block in zip(across, ranks.blocks, strict=True)
        for y, projection in zip(down, ranks.projections, strict=True)
        if (block, projection) in ranks.ranks
    ]
    squares(axes, found, size, top)
    below = high - len(ranks.projections) * size[1]
    axes.text(left, high + 0.07, ranks.title, va="bottom")
    axes.text(left - 0.04, below - 0.04, "block", ha="right", va="top")
    for x, block in zip(across, ranks.blocks, strict=True):
        axes.text(x, below - 0.04, str(block), ha="center", va="top")
    for y, projection in zip(down, ranks.projections, strict=True):
        axes.text(left - 0.04, y, projection, ha="right", va="center")
