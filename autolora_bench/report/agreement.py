"""Do ranks repeat? Between seeds of one task, between tasks, between settings of a method.

What repeats between tasks too is the network's; what another learning rate changes as much is not the task's alone.

Of every method that gives layers different ranks, from the records alone. L layers.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from autolora_bench.config.registry import UNTRAINED
from autolora_bench.report.correlation import (
    DRAWS,
    Flags,
    Floats,
    correlations,
    layers_p,
    over_pairs,
    pearson,
    share_reaching,
    shown,
    shown_p,
    spearman,
    standardised,
)
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.runs import Run, grouped, has_own_plant
from autolora_bench.report.scoreboard import Row, Table

Codes = NDArray[np.int64]
ALL_DEALS = 20_000
"""Where there are no more ways to deal the groups, all are looked at."""

AT_ONCE = 20_000_000
"""Correlations that are held in memory at a time."""

SEEDS_HEAD = ("cell", "seeds", "rank r", "rank rho", "rank p", "lowest rank", "highest", "total rank")
SEEDS_NOTES = (
    "Of every method that gives layers different ranks, from the records: r Pearson, rho Spearman of the layers' "
    "ranks, each the mean over pairs of seeds. p: layers permuted, 2,000 draws, not corrected for the number of cells.",
    "Where seeds says 2 of 8, six gave all layers one rank: they correlate with none and are in no pair.",
    "Agreement is no evidence that ranks are right: what looks at the same frozen weights or inputs agrees by itself, "
    "and so does what is always wrong. Random ranks must come out at chance.",
)

ACROSS_HEAD = ("runs", "within r", "across r", "across p", "difference", "p", "seen from")
ACROSS_NOTES = (
    "across p: layers permuted, for each seed alone. p of the difference: {0} permuted among the runs of each seed. "
    "All orders of the {0} where they are few, else 2,000 draws; not corrected for the number of rows.",
    "seen from: the smallest difference whose p is at most .05; empty where so few runs have none.",
)
TASKS_NOTES = (
    "Pearson correlation of the layers' ranks, means over pairs of runs of different seeds: within one task, and "
    "across two tasks. As much across as within: what repeats is the network's or the method's, and not the task's.",
    *(note.format("tasks") for note in ACROSS_NOTES),
)
SETTINGS_NOTES = (
    "Of methods with several rows on one task: Pearson correlation of the layers' ranks, means over pairs of runs of "
    "different seeds, within one row and across two. Less across than within: the ranks are the settings' in part. "
    "Rows that gave their seeds the very ranks of another, as its search is theirs, are left out.",
    *(note.format("settings") for note in ACROSS_NOTES),
)


def rank_agreement(tables: Sequence[Table]) -> PlainTable | None:
    """Do two seeds give the same layers the same ranks? None where no method gives layers different ranks.

    Ranks that were planted with the seed are left out: they are to differ.
    """
    rows = [
        _over_seeds(f"{table.model}, {table.named(task)}, {row.label}{which}", group)
        for table in tables
        for row in table.rows
        for task, runs in row.by_task.items()
        for which, group in _by_layers((task, run) for run in runs).items()
        if sum(len(set(own.ranks)) > 1 for own in group) > 1
    ]
    return PlainTable("Agreement of ranks over seeds", SEEDS_HEAD, tuple(rows), SEEDS_NOTES) if rows else None


def task_agreement(tables: Sequence[Table]) -> PlainTable | None:
    """Are ranks the task's? None where no method gave layers different ranks on two tasks, with two seeds of one."""
    rows = [
        _across(f"{table.model}, {row.label}{which}", group, table.named)
        for table in tables
        for row in table.rows
        for which, group in _by_layers((run.task, run) for run in row.runs).items()
    ]
    kept = tuple(row for row in rows if row is not None)
    head = ("row", "tasks", *ACROSS_HEAD)
    return PlainTable("Agreement of ranks across tasks", head, kept, TASKS_NOTES) if kept else None


def settings_agreement(tables: Sequence[Table]) -> PlainTable | None:
    """Does another learning rate, say, give a method other ranks on the same task?

    None where no method gave layers different ranks with two settings on one task, with two seeds of one.
    """
    found = [
        _across(
            f"{table.model}, {table.named(task)}, {rows[0].runs[0].method_title}{which}", group, str, " / "
        )
        for table in tables
        for task in dict.fromkeys(task for row in table.rows for task in row.by_task)
        for rows in _by_method(table.rows)
        for which, group in _by_layers(
            (row.label, run) for row in _unlike(rows, task) for run in row.by_task[task]
        ).items()
    ]
    kept = tuple(row for row in found if row is not None)
    head = ("method", "rows", *ACROSS_HEAD)
    return PlainTable("Agreement of ranks across settings", head, kept, SETTINGS_NOTES) if kept else None


@dataclass(frozen=True)
class Across:
    """How much ranks correlate within a group (a task, a setting) and across groups, over pairs of two seeds."""

    groups: tuple[str, ...]
    """Of the runs that were compared."""
    runs: int
    within: float
    across: float
    across_p: float
    """Share of random orders of the layers, one for each seed, with at least this correlation across groups."""
    difference_p: float
    """Share of the ways to deal the groups to the runs of each seed with at least this difference."""
    seen_from: float | None
    """The smallest of those differences with a share of at most .05; None where so few runs have none."""

    @property
    def difference(self) -> float:
        """Correlation within groups minus that across them."""
        return self.within - self.across


def across_groups(
    ranks: Sequence[Sequence[int]], groups: Sequence[str], seeds: Sequence[int], *, draws: int = DRAWS
) -> Across | None:
    """Compare the ranks of one method on several tasks, or with several settings.

    Runs of one seed are not compared with each other: they start from the same LoRA values. Those whose ranks are equal
    in all layers correlate with none and are left out.

    Args:
        ranks: L ranks of every run, layers in the same order.
        groups: of every run, its task or its setting.
        seeds: of every run.
        draws: of each permutation test that does not look at all orders, from a fixed seed.

    Returns:
        None where no two runs of different seeds share a group, or none do not.
    """
    varied = [place for place, own in enumerate(ranks) if len(set(own)) > 1]
    if len(varied) < 2:
        return None
    values = np.array([ranks[place] for place in varied], dtype=np.float64)
    seed = np.array([seeds[place] for place in varied])
    names = [groups[place] for place in varied]
    group = np.unique(names, return_inverse=True)[1]
    first, second = np.triu_indices(len(varied), 1)
    apart = seed[first] != seed[second]
    first, second = first[apart], second[apart]
    same = group[first] == group[second]
    if not same.any() or same.all():
        return None
    products = np.array(
        [pearson(values[i], values[j]) for i, j in zip(first, second, strict=True)], dtype=np.float64
    )
    random = np.random.default_rng(0)
    across = float(products[~same].mean())
    orders = _orders(values, seed, draws, random)
    pieces = np.array_split(orders, math.ceil(draws * len(varied) ** 2 / AT_ONCE))
    by_chance = np.concatenate(
        [correlations(piece)[:, first[~same], second[~same]].mean(axis=-1) for piece in pieces]
    )
    dealt, exact = _dealt(group, seed, draws, random)
    differences = _difference(products, dealt[:, first] == dealt[:, second])
    observed = float(_difference(products, same[None])[0])
    return Across(
        groups=tuple(dict.fromkeys(names)),
        runs=len(varied),
        within=across + observed,
        across=across,
        across_p=share_reaching(by_chance, across),
        difference_p=float(np.mean(differences >= observed - 1e-12))
        if exact
        else share_reaching(differences, observed),
        seen_from=_seen_from(differences, 0 if exact else 1),
    )


def _seen_from(found: Floats, more: int) -> float | None:
    """The smallest difference that at most .05 of all reach; `more` are counted beside those that were drawn."""
    values, counts = np.unique(found.round(12), return_counts=True)
    reaching = counts[::-1].cumsum()[::-1]
    enough = values[more + reaching <= 0.05 * (more + found.size)]
    return float(enough[0]) if enough.size else None


def _orders(ranks: Floats, seed: Codes, draws: int, random: np.random.Generator) -> Floats:
    """(draws, runs, L): `ranks`, standardised, the layers in one random order for all runs of a seed.

    Runs of a seed may share more than the network, so that orders of their own would make chance too narrow.
    """
    own = np.unique(seed, return_inverse=True)[1]
    order = random.permuted(np.tile(np.arange(ranks.shape[1]), (draws, int(own.max()) + 1, 1)), axis=-1)
    return np.take_along_axis(standardised(ranks)[None], order[:, own], axis=-1)


def _dealt(group: Codes, seed: Codes, draws: int, random: np.random.Generator) -> tuple[Codes, bool]:
    """(deals, runs): the groups, permuted among the runs of each seed; and whether these are all there are.

    Where every seed has all groups their names do not matter, so that one seed may keep its own.
    """
    places = [np.flatnonzero(seed == one) for one in np.unique(seed)]
    complete = all(len(own) == len(np.unique(group)) for own in places)
    moved = places[1:] if complete else places
    count = math.prod(math.factorial(len(own)) for own in moved)
    exact = count <= ALL_DEALS
    dealt = np.tile(group, (count if exact else draws, 1))
    if not exact:
        for own in places:
            dealt[:, own] = random.permuted(dealt[:, own], axis=1)
        return dealt, False
    for deal, orders in zip(dealt, product(*(permutations(own) for own in moved)), strict=True):
        for own, order in zip(moved, orders, strict=True):
            deal[own] = group[list(order)]
    return dealt, True


def _difference(products: Floats, same: Flags) -> Floats:
    """Mean of the pairs of one group minus that of the others, for every row of `same` (draws, pairs)."""
    count = same.sum(axis=1)
    within = (same * products).sum(axis=1)
    others = products.size - count
    with np.errstate(invalid="ignore", divide="ignore"):
        found = within / count - (products.sum() - within) / others
    return np.where(
        (count > 0) & (others > 0), found, -np.inf
    )  # a deal with no pair on one side says nothing


@dataclass(frozen=True)
class _Ranks:
    """What one run gave its layers."""

    group: str
    seed: int
    ranks: list[int]
    """Of its layers by name."""


def _by_method(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of every method that has several."""
    found = grouped((row for row in rows if row.method != UNTRAINED), lambda row: row.method)
    return [same for same in found.values() if len(same) > 1]


def _unlike(rows: Sequence[Row], task: str) -> list[Row]:
    """Rows with runs of the task, but those that gave their seeds the ranks of an earlier one: its search is theirs."""
    kept: list[tuple[Row, dict[int, dict[str, int]]]] = []
    for row in rows:
        ranks = {
            run.seed: {layer.module: layer.rank for layer in run.completed.ranks}
            for run in row.by_task.get(task, ())
            if run.completed
        }
        if ranks and not any(_agree(ranks, other) for _, other in kept):
            kept.append((row, ranks))
    return [row for row, _ in kept]


def _agree(one: dict[int, dict[str, int]], other: dict[int, dict[str, int]]) -> bool:
    """Whether the seeds of both, if there are any, have the same ranks."""
    seeds = one.keys() & other.keys()
    return bool(seeds) and all(one[seed] == other[seed] for seed in seeds)


def _by_layers(runs: Iterable[tuple[str, Run]]) -> dict[str, list[_Ranks]]:
    """Completed runs, each with its group, over the same layers; by what tells these where there are several.

    Not those whose planted ranks change with the seed.
    """
    by_layers: dict[frozenset[str], list[_Ranks]] = {}
    orders: dict[frozenset[str], list[str]] = {}
    for group, run in runs:
        found = {layer.module: layer.rank for layer in (run.completed.ranks if run.completed else [])}
        if found and not has_own_plant(run):
            layers = frozenset(found)
            order = orders.setdefault(layers, list(found))
            by_layers.setdefault(layers, []).append(
                _Ranks(group, run.seed, [found[layer] for layer in order])
            )
    several = len(by_layers) > 1
    return {
        f", {len(layers)} layers ({number})" if several else "": alike
        for number, (layers, alike) in enumerate(by_layers.items(), 1)
    }


def _over_seeds(name: str, group: Sequence[_Ranks]) -> tuple[str, ...]:
    ranks = np.array([own.ranks for own in group], dtype=np.float64)
    varied = sum(len(set(own.ranks)) > 1 for own in group)
    totals = ranks.sum(axis=1)
    measures = (over_pairs(list(ranks), measure) for measure in (pearson, spearman))
    return (
        name,
        str(varied) if varied == len(ranks) else f"{varied} of {len(ranks)}",
        *map(shown, measures),
        shown_p(layers_p(list(ranks))),
        f"{ranks.min():.0f}",
        f"{ranks.max():.0f}",
        f"{totals.mean():.1f} \N{PLUS-MINUS SIGN} {totals.std(ddof=1):.1f}",
    )


def _across(
    name: str, group: Sequence[_Ranks], titled: Callable[[str], str], joiner: str = ", "
) -> tuple[str, ...] | None:
    found = across_groups(
        [own.ranks for own in group], [own.group for own in group], [own.seed for own in group]
    )
    if found is None:
        return None
    numbers = (shown(found.within), shown(found.across), shown_p(found.across_p), shown(found.difference))
    titles = joiner.join(map(titled, found.groups))
    return (name, titles, str(found.runs), *numbers, shown_p(found.difference_p), shown(found.seen_from))
