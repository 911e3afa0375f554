"""The declared comparisons in words: differences, intervals, tests, and what they could have found."""

import statistics
from collections.abc import Sequence

from autolora_bench.report import numerals
from autolora_bench.report.entries import Entry
from autolora_bench.report.numerals import plural
from autolora_bench.report.plain import PlainTable
from autolora_bench.report.scoreboard import ALPHA, Claim, Row, Table
from autolora_bench.report.significance import (
    ALL_ROWS,
    EXACT_UNITS,
    INTERVAL_PAIRS,
    POWER,
    bootstrap_interval,
    detectable_effect,
    smallest_separable,
)
from autolora_bench.report.stated import stated

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
    effect = detectable_effect(spread, len(claim.units))
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
        f"{claim.p:.4f}" if claim.p is not None else "",
        f"{claim.adjusted:.4f}" if claim.adjusted is not None else "",
        "yes" if claim.separated else "no" if tested else "not tested",
        numerals.score(effect) if effect is not None else "",
    )


def _notes(table: Table) -> list[str]:
    fewest = smallest_separable()
    tested = sum(claim.p is not None for claim in table.claims)
    columns = dict.fromkeys(column for claim in table.claims for column in claim.columns)
    shown = ", ".join(f"{column.title} {column.subtitle}" for column in columns)
    return [
        f"Difference: first minus second, headline scores in points ({shown}), mean over seeds, then over tasks; "
        "positive favours the first, also where lower is better. Pairs share task and seed.",
        f"Family: {_family(table)} Holm's correction is over the {plural(tested, 'comparison')} tested; "
        "it marks the best cells of the scores too.",
        f"p: two-sided sign-flip test, exact up to {EXACT_UNITS} units. The unit is the seed on one task, and the task "
        f"where several are averaged: seeds of one task say nothing about other tasks. Fewer than {fewest} units "
        f"cannot reach p < {ALPHA} whatever the scores: such a comparison is not tested and leaves the family.",
        "Interval: percentile bootstrap, over tasks and then over the seeds of each; none under "
        f"{INTERVAL_PAIRS} pairs.",
        f"Detectable: the smallest true difference that the test would find at p < {ALPHA}, before correction, in "
        f"{POWER:.0%} of repetitions, for normal differences with the deviation seen here (Guenther's formula, "
        "corrected for the test's few values).",
        *_sharing(table),
    ]


def _family(table: Table) -> str:
    methods = {row.method: row.label for row in table.rows if row.main}
    declared = [text.partition(":") for text in table.compare]
    pairs = [(one, other) for one, _, other in declared if one in methods and other in methods]
    if pairs:
        sides: dict[str, list[str]] = {}
        for one, other in pairs:
            sides.setdefault(methods[one], []).append(methods[other])
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
        entries = _entries(row)
        draws = _shared_draws(entries)
        if draws:
            lines.append(
                f"{row.label}: {plural(len(entries), 'run')} share {plural(draws, 'random draw')} of ranks."
            )
        starts = {stated(entry.setting("method", "search", "initialisation_seed")) for entry in entries}
        if len({entry.seed for entry in entries}) > 1 and len(starts) == 1 and starts != {stated(None)}:
            lines.append(
                f"{row.label}: the searches of all seeds start from the same LoRA values "
                f"(method.search.initialisation_seed={starts.pop()}), so its seeds differ less than independent runs."
            )
    return lines


def _entries(row: Row) -> list[Entry]:
    found = {id(entry): entry for cell in row.cells.values() for entry in cell.entries if entry.completed}
    return list(found.values())


def _shared_draws(entries: Sequence[Entry]) -> int:
    """How many different random allocations there are, where several tasks use one; else 0."""
    drawn = [entry for entry in entries if entry.setting("method", "allocation") == "random"]
    draws: dict[tuple[int, ...], set[str]] = {}
    for entry in drawn:
        ranks = tuple(layer.rank for layer in entry.record.ranks) if entry.record else ()
        draws.setdefault(ranks, set()).add(entry.task)
    return len(draws) if len(draws) < len(drawn) and any(len(tasks) > 1 for tasks in draws.values()) else 0
