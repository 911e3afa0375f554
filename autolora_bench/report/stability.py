"""Do two seeds find the same ranks? Agreement of searches that differ in their seed alone.

A component j of a layer is the j-th column of its LoRA factors. It is the same component in two runs only if both
start from the same LoRA values: `method.search.initialisation_seed` set to one number. Otherwise component j of
one run has nothing to do with component j of another, so that correlations of alpha and agreement of kept
components compare unrelated things and must come out at chance; then only figures that do not name components
count: ranks, total budget, and alphas sorted within each layer.

L layers, K components, S seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autolora_bench.report.artefacts import SearchResult, search_left
from autolora_bench.report.collect import Identity
from autolora_bench.report.correlation import (
    DRAWS,
    SEED,
    Flags,
    Floats,
    layers_p,
    over_pairs,
    pearson,
    share_reaching,
    shown,
    shown_p,
    spearman,
)
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.runs import Run, grouped, has_own_plant
from autolora_bench.report.scoreboard import Table

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
OWN_PLANTS = (
    "left out, every seed has a plant of its own and other ranks to find; task.plant_seed=N gives all seeds one plant, "
    "as suite=arena_agreement does"
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
    alphas: Sequence[Floats], kept: Sequence[Flags], *, shared: bool, draws: int = DRAWS
) -> Stability:
    """Compare the searches of several seeds.

    Args:
        alphas: one (L, K) table of selection weights per seed, layers in the same order.
        kept: one (L, K) table per seed, true where the component was kept.
        shared: whether all seeds started from the same LoRA values, so that components have an identity.
        draws: random draws of the permutation tests.

    Raises:
        ValueError: the tables differ in shape.
    """
    if len({table.shape for table in [*alphas, *kept]}) > 1:
        raise ValueError("selections of different shape cannot be compared")
    ranks = [flags.sum(axis=1).astype(np.float64) for flags in kept]
    profiles = [_profile(alpha) for alpha in alphas]
    flat = [alpha.ravel() for alpha in alphas]
    agreement, chance, kept_p = _kept_test(kept, draws, np.random.default_rng(SEED))
    return Stability(
        seeds=len(alphas),
        shared=shared,
        alpha_pearson=over_pairs(flat, pearson),
        alpha_spearman=over_pairs(flat, spearman),
        sorted_pearson=over_pairs(profiles, pearson),
        sorted_spearman=over_pairs(profiles, spearman),
        rank_pearson=over_pairs(ranks, pearson),
        rank_spearman=over_pairs(ranks, spearman),
        rank_p=layers_p(ranks, draws),
        kept_agreement=agreement,
        kept_chance=chance,
        kept_p=kept_p,
        budgets=tuple(int(rank.sum()) for rank in ranks),
        layers=alphas[0].shape[0] if alphas else 0,
    )


def _profile(alpha: Floats) -> Floats:
    """Alphas sorted within each layer, minus the layers' mean at each place: sorting alone correlates nothing."""
    ordered = -np.sort(-alpha, axis=1)
    return np.asarray((ordered - ordered.mean(axis=0)).ravel(), dtype=np.float64)


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
    return observed, float(drawn.mean()), share_reaching(drawn, observed)


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
    """Every cell whose runs left a search result, and a line per artefact that cannot be read and per cell whose seeds
    have plants of their own, which its searches are to tell apart."""
    found: list[CellStability] = []
    problems: list[str] = []
    for table in tables:
        for row in table.rows:
            for task, runs in row.by_task.items():
                results = [
                    (e, r) for e in runs if (r := search_left(e.completed, folders, problems)) is not None
                ]
                if any(has_own_plant(run) for run, _ in results):
                    problems.append(f"{table.model}, {task}, {row.label}: {OWN_PLANTS}")
                    continue
                for group in grouped(results, lambda one: (one[1].modules, one[1].alpha.shape)).values():
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


def _figures(group: list[tuple[Run, SearchResult]]) -> Stability:
    shared = all(run.setting("method", "search", "initialisation_seed") is not None for run, _ in group)
    return stability(
        [result.alpha for _, result in group], [result.kept for _, result in group], shared=shared
    )


def _row(cell: CellStability) -> tuple[str, ...]:
    f = cell.figures
    named = [shown(value) for value in (f.alpha_pearson, f.alpha_spearman)]
    kept = [shown(value) for value in (f.kept_agreement, f.kept_chance)] + [shown_p(f.kept_p)]
    if not f.shared:
        named, kept = [[f"({text})" if text else "" for text in texts] for texts in (named, kept)]
    others = [shown(v) for v in (f.sorted_pearson, f.sorted_spearman, f.rank_pearson, f.rank_spearman)]
    budget = f"{f.budget_mean:.1f}" + (f" ± {f.budget_std:.1f}" if f.budget_std is not None else "")
    mean_rank = f"{np.mean(f.budgets) / f.layers:.2f} a layer" if f.layers else ""
    where = f"{cell.model}, {cell.task}, {cell.label}"
    start = "shared" if f.shared else "own"
    return (where, str(f.seeds), *named, *others, shown_p(f.rank_p), *kept, f"{budget} ({mean_rank})", start)
