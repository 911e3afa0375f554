"""Stability of the rank search over seeds, cell by cell, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autolora_bench.errors import UserError
from autolora_bench.report.artefacts import SearchResult, read_search_result
from autolora_bench.report.collect import Identity
from autolora_bench.report.entries import Entry
from autolora_bench.report.plain import PlainTable
from autolora_bench.report.scoreboard import Row, Table
from autolora_bench.report.stability import Stability, stability

HEAD = (
    "cell", "seeds", "alpha r", "alpha rho", "sorted alpha r", "sorted alpha rho", "rank r", "rank rho", "rank p",
    "kept agree", "by chance", "kept p", "total rank", "initialisation",
)  # fmt: skip

NOTES = (
    "r Pearson, rho Spearman, each the mean over pairs of seeds; empty where not defined, e.g. all ranks equal.",
    "initialisation, shared (method.search.initialisation_seed set): every seed starts from the same LoRA values, so "
    "a component is the same in every seed, and alpha and kept compare like with like.",
    "initialisation, own: component j of one seed has nothing to do with component j of another. Alpha and kept, in "
    "brackets, then compare unrelated components and must come out at chance; read sorted alpha, rank and total rank.",
    "sorted alpha: sorted within each layer, minus the layers' mean: do the same layers come out peaked or flat?",
    "kept agree: share of components that two seeds both keep or both drop; by chance: each layer's rank as found, its "
    "components drawn at random; p by 2,000 draws. rank p: layers permuted.",
    "total rank: mean ± standard deviation over seeds; the threshold rule sets it more than the data does.",
)


@dataclass(frozen=True)
class CellStability:
    """Stability of one row on one task."""

    model: str
    task: str
    label: str
    figures: Stability
    data: str
    """The task's title, with a mark where its data were not the whole ones."""
    seeds: tuple[int, ...]


def cell_stabilities(
    tables: Sequence[Table], folders: Mapping[Identity, Path]
) -> tuple[list[CellStability], list[str]]:
    """Every cell whose runs left a search result, and a line per artefact that cannot be read."""
    found: list[CellStability] = []
    problems: list[str] = []
    for table in tables:
        for row in table.rows:
            for task, entries in _by_task(row).items():
                results = [(e, r) for e in entries if (r := _read(e, folders, problems)) is not None]
                for group in _comparable(results):
                    seeds = tuple(sorted(entry.seed for entry, _ in group))
                    found.append(
                        CellStability(table.model, task, row.label, _figures(group), table.named(task), seeds)
                    )
    return found, problems


def stability_report(cells: Sequence[CellStability], problems: Sequence[str] = ()) -> PlainTable | None:
    """The table; None where no run left a search result."""
    if not cells and not problems:
        return None
    rows = tuple(_row(cell) for cell in cells)
    return PlainTable("Stability of the search over seeds", HEAD, rows, (*NOTES, *problems))


def _by_task(row: Row) -> dict[str, list[Entry]]:
    return {column.task: list(cell.entries) for column, cell in row.cells.items() if cell.entries}


def _read(entry: Entry, folders: Mapping[Identity, Path], problems: list[str]) -> SearchResult | None:
    record = entry.completed
    folder = folders.get(record.identity) if record else None
    if record is None or folder is None:
        return None
    try:
        return read_search_result(folder, record)
    except UserError as error:
        problems.append(error.what)
        return None


def _comparable(results: list[tuple[Entry, SearchResult]]) -> list[list[tuple[Entry, SearchResult]]]:
    """Searches over the same layers with the same number of components."""
    groups: dict[object, list[tuple[Entry, SearchResult]]] = {}
    for entry, result in results:
        groups.setdefault((result.modules, result.alpha.shape), []).append((entry, result))
    return list(groups.values())


def _figures(group: list[tuple[Entry, SearchResult]]) -> Stability:
    shared = all(entry.setting("method", "search", "initialisation_seed") is not None for entry, _ in group)
    return stability(
        [result.alpha for _, result in group], [result.kept for _, result in group], shared=shared
    )


def _row(cell: CellStability) -> tuple[str, ...]:
    f = cell.figures
    named = [_number(value) for value in (f.alpha_pearson, f.alpha_spearman)]
    kept = [_number(value) for value in (f.kept_agreement, f.kept_chance)] + [_p(f.kept_p)]
    if not f.shared:
        named, kept = [[f"({text})" if text else "" for text in texts] for texts in (named, kept)]
    others = [_number(v) for v in (f.sorted_pearson, f.sorted_spearman, f.rank_pearson, f.rank_spearman)]
    budget = f"{f.budget_mean:.1f}" + (f" ± {f.budget_std:.1f}" if f.budget_std is not None else "")
    mean_rank = f"{np.mean(f.budgets) / f.layers:.2f} a layer" if f.layers else ""
    where = f"{cell.model}, {cell.task}, {cell.label}"
    start = "shared" if f.shared else "own"
    return (where, str(f.seeds), *named, *others, _p(f.rank_p), *kept, f"{budget} ({mean_rank})", start)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _p(value: float | None) -> str:
    return "" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
