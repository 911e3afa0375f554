"""Every two methods compared over the (task, seed) pairs that both have."""

from collections.abc import Sequence
from itertools import combinations

from autolora_bench.report import numerals
from autolora_bench.report.columns import Column
from autolora_bench.report.order import family_of
from autolora_bench.report.plain import PlainTable
from autolora_bench.report.scoreboard import Row, Table
from autolora_bench.report.statistics import (
    ALPHA,
    EXACT_PAIRS,
    Floats,
    bootstrap_interval,
    holm,
    paired_differences,
    sign_flip_test,
    smallest_separable,
)

ALL_ROWS = 15
"""Longer tables compare every row with one reference only."""
Scores = dict[tuple[str, int], float]
HEAD = ("first", "second", "difference", "95 % interval", "pairs", "tasks", "p", "p, Holm", "separated")


def comparisons(tables: Sequence[Table]) -> list[PlainTable]:
    """One table per model of which two rows share two pairs."""
    return [found for table in tables if (found := pairwise(table))]


def pairwise(table: Table) -> PlainTable | None:
    """Differences of headline scores; None where no two rows share two pairs."""
    columns = _headlines(table.columns)
    scores = [_scores(row, columns) for row in table.rows]
    found: list[tuple[Row, Row, Floats, int]] = []
    for (one, a), (other, b) in _pairs(list(zip(table.rows, scores, strict=True))):
        differences = paired_differences(a, b)
        if differences.size > 1:
            found.append((one, other, differences, len({task for task, _ in a.keys() & b.keys()})))
    if not found:
        return None
    p_values = [sign_flip_test(differences) for _, _, differences, _ in found]
    rows = [_row(*each, p, q) for each, p, q in zip(found, p_values, holm(p_values), strict=True)]
    notes = _notes(columns)
    if len(table.rows) > ALL_ROWS:
        notes = (
            *notes,
            f"With more than {ALL_ROWS} rows, each is compared with {_reference(table.rows).label} only.",
        )
    return PlainTable(f"Paired comparisons: {table.model}", HEAD, tuple(rows), notes, table.model)


def _pairs(rows: list[tuple[Row, Scores]]) -> list[tuple[tuple[Row, Scores], tuple[Row, Scores]]]:
    """Every two rows; in long tables, every row against the reference."""
    if len(rows) <= ALL_ROWS:
        return list(combinations(rows, 2))
    reference = _reference([row for row, _ in rows])
    first = next(pair for pair in rows if pair[0] is reference)
    return [(first, pair) for pair in rows if pair is not first]


def _reference(rows: Sequence[Row]) -> Row:
    """The first AutoLoRA row, or the first row."""
    return next((row for row in rows if family_of(row.method) == "autolora"), rows[0])


def _headlines(columns: Sequence[Column]) -> list[Column]:
    """Headline columns of percentages, of one epoch."""
    chosen = [column for column in columns if column.headline and column.metric.published_scale == 100.0]
    epoch = next((column.epoch for column in chosen if column.epoch != "kept"), "kept")
    return [column for column in chosen if column.epoch in (epoch, "kept")]


def _scores(row: Row, columns: Sequence[Column]) -> Scores:
    """(task, seed) -> score, higher better."""
    signs = {column: 1.0 if column.metric.higher_is_better else -1.0 for column in columns}
    return {
        key: signs[column] * value for column in columns for key, value in row.cells[column].pairs.items()
    }


def _row(one: Row, other: Row, differences: Floats, tasks: int, p: float, adjusted: float) -> tuple[str, ...]:
    low, high = bootstrap_interval(differences)
    return (
        one.label,
        other.label,
        numerals.difference(float(differences.mean())),
        f"{numerals.difference(low)} to {numerals.difference(high)}",
        str(differences.size),
        str(tasks),
        f"{p:.4f}",
        f"{adjusted:.4f}",
        "yes" if adjusted < ALPHA else "",
    )


def _notes(columns: Sequence[Column]) -> tuple[str, ...]:
    shown = ", ".join(f"{column.title} {column.subtitle}" for column in columns)
    fewest = smallest_separable()
    return (
        f"Difference: first minus second, headline scores in points ({shown}); positive favours the first, also where "
        "lower is better. Pairs share task and seed. Interval: percentile bootstrap over pairs.",
        f"p: two-sided sign-flip test, exact up to {EXACT_PAIRS} pairs; it takes {fewest} pairs to reach p < {ALPHA}. "
        "Holm: corrected over all comparisons of this table.",
    )
