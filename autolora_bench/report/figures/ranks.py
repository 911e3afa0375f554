"""Ranks over blocks and projections (the paper's Figure 3), beside the ranks its authors published."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from autolora_bench.errors import UserError
from autolora_bench.report.figures.style import HEAT, Picture, file_name, picture
from autolora_bench.report.published import backbone_name, read_rows, results_dir
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import Row, Table

COLUMNS = ("source", "backbone", "task", "layer", "projection", "rank")


@dataclass(frozen=True)
class RankMap:
    """Mean rank by block and projection."""

    title: str
    projections: tuple[str, ...]
    blocks: tuple[int, ...]
    ranks: Mapping[tuple[int, str], float]


def rank_figures(tables: Sequence[Table], published: Path | None = None) -> list[Picture]:
    """One figure per row of ours whose layers differ in rank, a line of panels per task."""
    theirs = published_ranks(published)
    found = []
    for table in tables:
        for row in table.rows:
            maps = {task: ours for task, runs in _runs(row).items() if (ours := _mean_map(task, runs))}
            if any(len(set(one.ranks.values())) > 1 for one in maps.values()):
                real = {
                    task for task, runs in _runs(row).items() if not any(_is_generated(run) for run in runs)
                }
                beside = theirs if row.runs[0].family == "autolora" else {}
                found.append(
                    _picture(table, row, maps, {task: one for task, one in beside.items() if task in real})
                )
    return found


def published_ranks(path: Path | None = None) -> dict[str, RankMap]:
    """Task -> ranks that were published for it.

    Raises:
        UserError: the file is malformed.
    """
    file = path or results_dir() / "published_ranks.csv"
    if path is None and not file.is_file():
        return {}
    values: dict[tuple[str, str], dict[tuple[int, str], float]] = defaultdict(dict)
    for line, row in read_rows(file, COLUMNS):
        try:
            values[row["task"], row["backbone"]][int(row["layer"]), row["projection"]] = float(row["rank"])
        except ValueError as error:
            raise UserError(f"{file} line {line}: {error}", "layer and rank are numbers") from error
    return {
        task: _map(f"published, {backbone_name(backbone)}", ranks)
        for (task, backbone), ranks in values.items()
    }


def _runs(row: Row) -> dict[str, list[Run]]:
    return {
        task: [r for r in made if r.completed and r.completed.ranks] for task, made in row.by_task.items()
    }


def _is_generated(run: Run) -> bool:
    return bool(run.setting("data", "source") == "generated")


def _mean_map(task: str, runs: list[Run]) -> RankMap | None:
    values: dict[tuple[int, str], list[float]] = defaultdict(list)
    for run in runs:
        for layer in run.completed.ranks if run.completed else ():
            if layer.block is not None:
                values[layer.block, layer.projection].append(layer.rank)
    ranks = {place: fmean(found) for place, found in values.items()}
    seeds = ", ".join(str(run.seed) for run in runs)
    return (
        _map(f"{task}, seed {seeds}" if len(runs) == 1 else f"{task}, mean of seeds {seeds}", ranks)
        if ranks
        else None
    )


def _map(title: str, ranks: Mapping[tuple[int, str], float]) -> RankMap:
    projections = tuple(dict.fromkeys(projection for _, projection in sorted(ranks)))
    return RankMap(title, projections, tuple(sorted({block for block, _ in ranks})), ranks)


def _picture(table: Table, row: Row, maps: Mapping[str, RankMap], theirs: Mapping[str, RankMap]) -> Picture:
    pairs = [(ours, theirs.get(task)) for task, ours in maps.items()]
    beside = (
        " Beside them, where there are any, the ranks the authors published."
        if any(t for _, t in pairs)
        else ""
    )
    caption = f"Ranks by block and projection; darker is higher.{beside}"
    spread = [rank for ours, _ in pairs for rank in ours.ranks.values()]
    alt = (
        f"Heat map of ranks of {row.label} on {', '.join(maps)}: from {min(spread):.3g} to {max(spread):.3g}."
    )
    return picture(
        file_name("ranks", table.model, row.label),
        f"{row.label}; {table.subject}",
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
