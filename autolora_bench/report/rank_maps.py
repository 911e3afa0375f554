"""Ranks over blocks and projections (the paper's Figure 3), beside the ranks its authors published."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from autolora_bench.errors import UserError
from autolora_bench.paths import results_dir
from autolora_bench.report.published import backbone_name
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import Row, Table
from autolora_bench.tables.text_files import named_rows

COLUMNS = ("source", "backbone", "task", "layer", "projection", "rank")


@dataclass(frozen=True)
class RankMap:
    """Mean rank by block and projection."""

    title: str
    projections: tuple[str, ...]
    blocks: tuple[int, ...]
    ranks: Mapping[tuple[int, str], float]


@dataclass(frozen=True)
class RowRanks:
    """The ranks of one row, by task."""

    table: Table
    row: Row
    maps: Mapping[str, RankMap]
    """Task -> means over seeds."""
    beside: Mapping[str, RankMap]
    """Task -> what the authors published, for rows and data it can be set beside."""


def rank_maps(tables: Sequence[Table]) -> list[RowRanks]:
    """Every row whose layers differ in rank."""
    theirs = published_ranks()
    found = []
    for table in tables:
        for row in table.rows:
            maps = {task: ours for task, runs in _runs(row).items() if (ours := _mean_map(task, runs))}
            if any(len(set(one.ranks.values())) > 1 for one in maps.values()):
                real = {task for task, runs in _runs(row).items() if not any(run.generated for run in runs)}
                beside = theirs if row.runs[0].family == "autolora" else {}
                found.append(
                    RowRanks(table, row, maps, {task: one for task, one in beside.items() if task in real})
                )
    return found


def published_ranks() -> dict[str, RankMap]:
    """Task -> ranks that were published for it.

    Raises:
        UserError: the file is malformed.
    """
    file = results_dir() / "published_ranks.csv"
    if not file.is_file():
        return {}
    values: dict[tuple[str, str], dict[tuple[int, str], float]] = defaultdict(dict)
    for line, row in named_rows(file, COLUMNS):
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
