"""The declared comparisons in words, with what they could have found; and whether rank makes a difference."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autolora_bench.report import numerals
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.numerals import plural, stated
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import ALPHA, Claim, Column, Row, Table, pair_named, unit_of
from autolora_bench.report.significance import (
    ALL_ROWS,
    EXACT_UNITS,
    INTERVAL_UNITS,
    NO_SPREAD,
    POWER,
    SEED,
    bootstrap_interval,
    detectable_effect,
    smallest_separable,
)

DRAWS = 10_000
ROUNDING = 1e-12
"""Deviations of equal scores, as a share of the scores."""
HEAD = (
    "first", "second", "on", "difference", "95 % interval", "pairs", "unit", "p", "p, Holm", "separated", "detectable",
)  # fmt: skip


def comparisons(tables: Sequence[Table]) -> list[PlainTable]:
    """One table per model of which two compared rows share two pairs."""
    return [found for table in tables if (found := comparison_table(table))]


def comparison_table(table: Table) -> PlainTable | None:
    """The family of one table; None where nothing is compared."""
    if not table.claims:
        return None
    rows = tuple(_row(table, claim) for claim in table.claims)
    return PlainTable(f"Paired comparisons: {table.model}", HEAD, rows, tuple(_notes(table)), table.model)


def _row(table: Table, claim: Claim) -> tuple[str, ...]:
    interval = bootstrap_interval(claim.differences)
    tested = claim.p is not None and claim.adjusted is not None
    spread = statistics.stdev(claim.units) if tested else 0.0
    effect = detectable_effect(spread, len(claim.units), ALPHA / claim.family)
    column = claim.columns[0]
    alone = len(claim.columns) == 1
    return (
        table.rows[claim.first].label,
        table.rows[claim.second].label,
        f"{column.title} {column.subtitle}" if alone else plural(len(claim.columns), "task"),
        numerals.difference(claim.mean),
        " to ".join(map(numerals.difference, interval)) if interval else "",
        str(claim.pairs),
        plural(len(claim.units), "seed" if alone else "task"),
        numerals.p_value(claim.p, 4) if claim.p is not None else "",
        numerals.p_value(claim.adjusted, 4) if claim.adjusted is not None else "",
        "yes" if claim.separated else "no" if tested else "not tested",
        numerals.size(effect) if effect is not None else "",
    )


def _notes(table: Table) -> list[str]:
    fewest = smallest_separable()
    tested = sum(claim.p is not None for claim in table.claims)
    columns = dict.fromkeys(column for claim in table.claims for column in claim.columns)
    shown = ", ".join(f"{column.title} {column.subtitle}" for column in columns)
    return [
        f"Difference: first minus second, headline scores in {unit_of(columns)} ({shown}), mean over seeds, then over "
        "tasks; positive favours the first, also where lower is better. Pairs share task, seed and data.",
        f"Family: {_family(table)} Holm's correction is over the {plural(tested, 'comparison')} tested; "
        "it marks the best cells of the scores too.",
        f"p: two-sided sign-flip test, exact up to {EXACT_UNITS} units. The unit is the seed on one task, and the task "
        f"where several are averaged: seeds of one task say nothing about other tasks. Fewer than {fewest} units "
        f"cannot reach p < {ALPHA} whatever the scores: such a comparison is not tested and leaves the family.",
        "Interval: percentile bootstrap, over tasks and then over the seeds of each; none under "
        f"{INTERVAL_UNITS} units.",
        f"Detectable: the smallest true difference that would be found in {POWER:.0%} of repetitions after correction, "
        f"whatever the other comparisons give ({_level(tested)}), for normal differences with the deviation seen here "
        "(Guenther's formula, corrected for the test's few values); empty where there is none.",
        *_too_few(table.claims),
        *_without_spread(table),
        *_of_other_seeds(table),
        *_sharing(table),
    ]


def _level(tested: int) -> str:
    return f"p < {ALPHA}" if tested < 2 else f"p < {ALPHA} / {tested}"


def _too_few(claims: Sequence[Claim]) -> list[str]:
    """That no scores at all would have separated anything."""
    if not claims or any(len(claim.units) >= needed_units(claim) for claim in claims):
        return []
    return [f"{nothing_found(claims[0])} units."]


def _without_spread(table: Table) -> list[str]:
    alike = [
        claim for claim in table.claims if claim.p is not None and statistics.stdev(claim.units) < NO_SPREAD
    ]
    if not alike:
        return []
    return [
        f"Detectable is empty too where the differences do not vary: {_named(table, alike)}. Methods that learn "
        "nothing and give one answer always look like this."
    ]


def _of_other_seeds(table: Table) -> list[str]:
    """Claims that say another order than the cells of the table, whose means are over runs that the other has not."""
    turned = []
    for claim in table.claims:
        shown = statistics.fmean(_apart(table, claim, column) for column in claim.columns)
        if shown * claim.mean < 0 and min(abs(shown), abs(claim.mean)) > numerals.EXACT_ZERO:
            turned.append(claim)
    if not turned:
        return []
    return [
        "The means of the table say another order, as they are over seeds too that only one of the two has: "
        f"{_named(table, turned)}."
    ]


def _apart(table: Table, claim: Claim, column: Column) -> float:
    """Difference of the two rows' means as a cell shows them, whatever seeds each is over; as `Claim.mean` signed."""
    first, second = (table.rows[place].cells[column].mean for place in (claim.first, claim.second))
    assert first is not None
    assert second is not None
    return first - second if column.metric.higher_is_better else second - first


def _named(table: Table, claims: Sequence[Claim]) -> str:
    return ", ".join(
        f"{table.rows[claim.first].label} against {table.rows[claim.second].label} on "
        + (claim.columns[0].title if len(claim.columns) == 1 else plural(len(claim.columns), "task"))
        for claim in claims
    )


def nothing_found(claim: Claim) -> str:
    """The beginning of a sentence that ends with what they need so many of."""
    verb = "needs" if claim.family == 1 else "need"
    return (
        f"Nothing could be separated here, whatever the scores: {plural(claim.family, 'comparison')} {verb} "
        f"{needed_units(claim)}"
    )


def needed_units(claim: Claim) -> int:
    """Fewest units with which a claim could be separated after correction, whatever the others of its family give."""
    return smallest_separable(ALPHA / claim.family)


def _family(table: Table) -> str:
    if any(pair_named(table.rows, text) for text in table.compare):
        sides: dict[str, list[str]] = {}
        for first, second in dict.fromkeys((claim.first, claim.second) for claim in table.claims):
            sides.setdefault(table.rows[first].label, []).append(table.rows[second].label)
        against = "; ".join(f"{one} against {', '.join(others)}" for one, others in sides.items())
        return f"as declared, {against}."
    if len(table.rows) > ALL_ROWS:
        return f"no declared comparison is among the {len(table.rows)} rows; one row is compared with every other."
    return "no declared comparison is among the rows; every two are compared."


def _sharing(table: Table) -> list[str]:
    """What the pairs have in common, so that they are fewer than they look."""
    lines = []
    for row in [
        table.rows[place] for place in dict.fromkeys(p for c in table.claims for p in (c.first, c.second))
    ]:
        runs = [run for run in row.runs if run.completed]
        draws = _shared_draws(runs)
        if draws:
            lines.append(
                f"{row.label}: {plural(len(runs), 'run')} share {plural(draws, 'random draw')} of ranks."
            )
        starts = {stated(run.setting("method", "search", "initialisation_seed")) for run in runs}
        if len({run.seed for run in runs}) > 1 and len(starts) == 1 and starts != {stated(None)}:
            lines.append(
                f"{row.label}: the searches of all seeds start from the same LoRA values "
                f"(method.search.initialisation_seed={starts.pop()}), so its seeds differ less than independent runs."
            )
    return lines


def _shared_draws(runs: Sequence[Run]) -> int:
    """How many different random allocations there are, where several tasks use one; else 0."""
    drawn = [run for run in runs if run.setting("method", "allocation") == "random"]
    draws: dict[tuple[int, ...], set[str]] = {}
    for run in drawn:
        ranks = tuple(layer.rank for layer in run.record.ranks) if run.record else ()
        draws.setdefault(ranks, set()).add(run.task)
    return len(draws) if len(draws) < len(drawn) and any(len(tasks) > 1 for tasks in draws.values()) else 0


def rank_rows(rows: Sequence[Row]) -> dict[int, Row]:
    """Rows of LoRA that differ in nothing but the rank, by it."""
    found = {}
    for row in rows:
        if row.is_rank and row.variant[0][1].isdecimal():
            found[int(row.variant[0][1])] = row
    return dict(sorted(found.items())) if len(found) > 1 else {}


def rank_notes(table: Table) -> list[str]:
    """A line per task on which LoRA was run with several ranks."""
    rows = rank_rows(table.rows)
    columns = {column.task: column for column in table.columns if column.headline}
    return [note for column in columns.values() if (note := _note(rows, column))]


def rank_test(scores: NDArray[np.float64]) -> float:
    """p of the hypothesis that rank makes no difference, by permuting the ranks of each seed.

    The statistic is the sum of squares between the ranks' means. It is free of the scores' unit: they are divided by
    the largest deviation from a seed's mean. Where that is no more than rounding, p is 1. Else it is (1 + hits) /
    (1 + `DRAWS`).

    Args:
        scores: (seeds, ranks), in any unit.
    """
    deviations = scores - scores.mean(axis=-1, keepdims=True)
    largest = float(np.abs(deviations).max())
    if largest <= ROUNDING * float(np.abs(scores).max()):
        return 1.0
    scaled = deviations / largest
    random = np.random.default_rng(SEED)

    def between(values: NDArray[np.float64]) -> NDArray[np.float64]:
        means = values.mean(axis=-2)
        return np.asarray(((means - means.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))

    observed = between(scaled)
    drawn = between(random.permuted(np.broadcast_to(scaled, (DRAWS, *scaled.shape)), axis=-1))
    return float((1 + np.count_nonzero(drawn >= observed * (1 - 1e-9) - 1e-12)) / (1 + DRAWS))


def _note(rows: dict[int, Row], column: Column) -> str | None:
    by_rank = {rank: row.cells[column].pairs for rank, row in rows.items() if row.cells[column].pairs}
    if len(by_rank) < 2:
        return None
    seeds = sorted(set.intersection(*(set(scores) for scores in by_rank.values())))
    ranks = ", ".join(map(str, by_rank))
    where = f"Rank, {column.title} {column.subtitle}: LoRA of ranks {ranks}"
    if len(seeds) < 2:
        return f"{where} share {plural(len(seeds), 'seed')}, too few to say whether rank makes a difference there."
    table = np.array([[by_rank[rank][seed] for rank in by_rank] for seed in seeds])
    means = table.mean(axis=0)
    apart = numerals.size(float(means.max() - means.min()))
    unit = "points " if column.in_hundredths else ""
    span = f"{apart} {unit}apart over {plural(len(seeds), 'seed')}"
    least = math.factorial(len(by_rank)) ** (1 - len(seeds))
    if least >= ALPHA:  # where every seed puts the ranks in one order
        few = f"so few cannot show whether rank makes a difference there, p is {least:.3f} at least"
        return f"{where} lie {span}: {few}."
    p = rank_test(table)
    answer = (
        "rank makes a difference there."
        if p < ALPHA
        else "no difference by rank is seen, so allocations of ranks cannot be compared there."
    )
    return f"{where} lie {span}, p {numerals.p_value(p, 3)} (ranks permuted within seeds): {answer}"
