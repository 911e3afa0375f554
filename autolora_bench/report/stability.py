"""Do two seeds find the same ranks? Agreement of searches that differ in their seed alone.

A component j of a layer is the j-th column of its LoRA factors. It is the same component in two runs only if both
start from the same LoRA values: `method.search.initialisation_seed` set to one number. Otherwise component j of
one run has nothing to do with component j of another, so that correlations of alpha and agreement of kept
components compare unrelated things and must come out at chance; then only figures that do not name components
count: ranks, total budget, and alphas sorted within each layer.

L layers, K components, S seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autolora_bench.config.data import Source
from autolora_bench.errors import UserError
from autolora_bench.report.artefacts import SearchResult, read_search_result
from autolora_bench.report.collect import Identity
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import Table

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
DRAWS = 2000
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

RANK_HEAD = ("cell", "seeds", "rank r", "rank rho", "rank p", "lowest rank", "highest", "total rank")
RANK_NOTES = (
    "Of every method that gives layers different ranks, from the records: r Pearson, rho Spearman of the layers' "
    "ranks, each the mean over pairs of seeds. p: layers permuted, 2,000 draws, not corrected for the number of cells.",
    "Agreement is no evidence that ranks are right: what looks at the same frozen weights or inputs agrees by itself, "
    "and so does what is always wrong. Random ranks must come out at chance.",
)


@dataclass(frozen=True)
class Stability:
    """Figures over the seeds of one cell; means over all pairs of seeds; None where not defined."""

    seeds: int
    shared: bool
    """Whether components have an identity across the seeds."""
    alpha_pearson: float | None
    alpha_spearman: float | None
    """Of all L x K alphas. Means something only with shared initialisation."""
    sorted_pearson: float | None
    sorted_spearman: float | None
    """Of alphas sorted within each layer, minus the mean over layers at each place: do the same layers have a
    peaked or a flat profile?"""
    rank_pearson: float | None
    rank_spearman: float | None
    """Of the L ranks."""
    rank_p: float | None
    """Share of random orders of the layers with at least this Pearson correlation of ranks."""
    kept_agreement: float | None
    """Share of the L x K components that both seeds keep or both drop. Needs shared initialisation."""
    kept_chance: float | None
    """The same with each layer's kept components drawn at random: ranks as found, identities forgotten."""
    kept_p: float | None
    """Share of such draws with at least this agreement."""
    budgets: tuple[int, ...]
    """Total rank of every seed."""
    layers: int

    @property
    def budget_mean(self) -> float:
        """Mean total rank."""
        return float(np.mean(self.budgets))

    @property
    def budget_std(self) -> float | None:
        """Sample standard deviation of the total rank over seeds."""
        return float(np.std(self.budgets, ddof=1)) if len(self.budgets) > 1 else None


def stability(
    alphas: Sequence[Floats], kept: Sequence[Flags], *, shared: bool, draws: int = DRAWS, seed: int = 0
) -> Stability:
    """Compare the searches of several seeds.

    Args:
        alphas: one (L, K) table of selection weights per seed, layers in the same order.
        kept: one (L, K) table per seed, true where the component was kept.
        shared: whether all seeds started from the same LoRA values, so that components have an identity.
        draws: random draws of the permutation tests.
        seed: of those draws.

    Raises:
        ValueError: the tables differ in shape.
    """
    if len({table.shape for table in [*alphas, *kept]}) > 1:
        raise ValueError("selections of different shape cannot be compared")
    ranks = [flags.sum(axis=1).astype(np.float64) for flags in kept]
    profiles = [_profile(alpha) for alpha in alphas]
    flat = [alpha.ravel() for alpha in alphas]
    random = np.random.default_rng(seed)
    agreement, chance, kept_p = _kept_test(kept, draws, random)
    return Stability(
        seeds=len(alphas),
        shared=shared,
        alpha_pearson=_over_pairs(flat, pearson),
        alpha_spearman=_over_pairs(flat, spearman),
        sorted_pearson=_over_pairs(profiles, pearson),
        sorted_spearman=_over_pairs(profiles, spearman),
        rank_pearson=_over_pairs(ranks, pearson),
        rank_spearman=_over_pairs(ranks, spearman),
        rank_p=_rank_test(ranks, draws, random),
        kept_agreement=agreement,
        kept_chance=chance,
        kept_p=kept_p,
        budgets=tuple(int(rank.sum()) for rank in ranks),
        layers=alphas[0].shape[0] if alphas else 0,
    )


def pearson(first: Floats, second: Floats) -> float | None:
    """Pearson correlation; None where a side is constant."""
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    scale = max(float(np.abs(first).max()) * float(np.abs(second).max()), 1e-300) * first.size
    return None if size <= 1e-12 * scale else float(np.clip((a @ b) / size, -1.0, 1.0))


def spearman(first: Floats, second: Floats) -> float | None:
    """Spearman correlation, ties sharing their mean place; None where a side is constant."""
    return pearson(places(first), places(second))


def places(values: Floats) -> Floats:
    """Places 1..n in ascending order; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse.ravel()], dtype=np.float64)


def _profile(alpha: Floats) -> Floats:
    """Alphas sorted within each layer, minus the layers' mean at each place: sorting alone correlates nothing."""
    ordered = -np.sort(-alpha, axis=1)
    return np.asarray((ordered - ordered.mean(axis=0)).ravel(), dtype=np.float64)


def _over_pairs(values: Sequence[Floats], measure: Callable[[Floats, Floats], float | None]) -> float | None:
    found = [measure(a, b) for a, b in combinations(values, 2)]
    defined = [value for value in found if value is not None]
    return float(np.mean(defined)) if defined else None


def _kept_test(kept: Sequence[Flags], draws: int, random: np.random.Generator) -> tuple[float | None, ...]:
    """Agreement, agreement by chance, and p: components permuted within each layer, independently for each seed."""
    if len(kept) < 2:
        return None, None, None
    table = np.stack(kept)
    first, second = np.triu_indices(len(kept), 1)

    def agreement(flags: Flags) -> Floats:
        return np.asarray((flags[..., first, :, :] == flags[..., second, :, :]).mean(axis=(-3, -2, -1)))

    observed = float(agreement(table))
    drawn = agreement(random.permuted(np.broadcast_to(table, (draws, *table.shape)), axis=-1))
    return observed, float(drawn.mean()), _share_reaching(drawn, observed)


def _rank_test(ranks: Sequence[Floats], draws: int, random: np.random.Generator) -> float | None:
    """Layers permuted, independently for each seed; seeds of constant ranks correlate with none."""
    observed = _over_pairs(ranks, pearson)
    if observed is None:
        return None
    table = np.stack(ranks)
    drawn = random.permuted(np.broadcast_to(table, (draws, *table.shape)), axis=-1)
    drawn = drawn[:, [pearson(rank, rank) is not None for rank in ranks]]
    drawn = drawn - drawn.mean(axis=-1, keepdims=True)
    drawn = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    first, second = np.triu_indices(drawn.shape[1], 1)
    return _share_reaching((drawn[:, first] * drawn[:, second]).sum(axis=-1).mean(axis=-1), observed)


def _share_reaching(drawn: Floats, observed: float) -> float:
    return float((1 + np.count_nonzero(drawn >= observed - 1e-12)) / (1 + drawn.size))


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
            for task, runs in row.by_task.items():
                results = [(e, r) for e in runs if (r := _read(e, folders, problems)) is not None]
                for group in _comparable(results):
                    seeds = tuple(sorted(run.seed for run, _ in group))
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


def rank_agreement(tables: Sequence[Table]) -> PlainTable | None:
    """Do two seeds give the same layers the same ranks? None where no method gives layers different ranks.

    Ranks that were planted with the seed are left out: they are to differ.
    """
    rows = [
        _agreement(f"{table.model}, {table.named(task)}, {row.label}", np.array(ranks, dtype=np.float64))
        for table in tables
        for row in table.rows
        for task, runs in row.by_task.items()
        for ranks in _rank_groups(runs)
    ]
    return PlainTable("Agreement of ranks over seeds", RANK_HEAD, tuple(rows), RANK_NOTES) if rows else None


def _rank_groups(runs: Sequence[Run]) -> list[list[list[int]]]:
    """The ranks of runs over the same layers, where two have some that differ between layers."""
    groups: dict[tuple[str, ...], list[list[int]]] = {}
    for run in runs:
        layers = run.completed.ranks if run.completed else []
        drawn = (
            run.setting("data", "source") == Source.planted.name and run.setting("task", "plant_seed") is None
        )
        if layers and not drawn:
            groups.setdefault(tuple(layer.module for layer in layers), []).append(
                [one.rank for one in layers]
            )
    return [ranks for ranks in groups.values() if sum(len(set(own)) > 1 for own in ranks) > 1]


def _agreement(name: str, ranks: Floats) -> tuple[str, ...]:
    """A row of the table; `ranks` is (seeds, layers)."""
    totals = ranks.sum(axis=1)
    measures = (_over_pairs(list(ranks), measure) for measure in (pearson, spearman))
    return (
        name,
        str(len(ranks)),
        *map(_number, measures),
        _p(_rank_test(list(ranks), DRAWS, np.random.default_rng(0))),
        f"{ranks.min():.0f}",
        f"{ranks.max():.0f}",
        f"{totals.mean():.1f} \N{PLUS-MINUS SIGN} {totals.std(ddof=1):.1f}",
    )


def _read(run: Run, folders: Mapping[Identity, Path], problems: list[str]) -> SearchResult | None:
    record = run.completed
    folder = folders.get(record.identity) if record else None
    if record is None or folder is None:
        return None
    try:
        return read_search_result(folder, record)
    except UserError as error:
        problems.append(error.what)
        return None


def _comparable(results: list[tuple[Run, SearchResult]]) -> list[list[tuple[Run, SearchResult]]]:
    """Searches over the same layers with the same number of components."""
    groups: dict[object, list[tuple[Run, SearchResult]]] = {}
    for run, result in results:
        groups.setdefault((result.modules, result.alpha.shape), []).append((run, result))
    return list(groups.values())


def _figures(group: list[tuple[Run, SearchResult]]) -> Stability:
    shared = all(run.setting("method", "search", "initialisation_seed") is not None for run, _ in group)
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
