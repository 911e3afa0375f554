"""Marks the best cell of a column, only where a paired test separates it from the second best."""

from collections.abc import Sequence
from dataclasses import dataclass

from autolora_bench.report.columns import Column
from autolora_bench.report.scoreboard import Cell
from autolora_bench.report.statistics import (
    ALPHA,
    holm,
    paired_differences,
    sign_flip_test,
    smallest_separable,
)


@dataclass(frozen=True)
class Test:
    """The best row of a column against the second best."""

    column: Column
    best: int
    """Position among the rows."""
    p: float


def separated(rows: Sequence[dict[Column, Cell]], columns: Sequence[Column]) -> dict[Column, int]:
    """Column -> position of the row that is best and is separated from the second best.

    A two-sided sign-flip test over the (task, seed) pairs that both rows have, Holm-corrected over the table's
    columns; best and last epochs are two views of the same runs, each corrected by itself. Columns with fewer
    pairs than `statistics.smallest_separable` could never be separated; they are left out of the test and of the
    correction, which their number of pairs decides, not their scores.
    """
    found: dict[Column, int] = {}
    for epoch in dict.fromkeys(column.epoch for column in columns):
        tests = [test for column in columns if column.epoch == epoch and (test := _test(rows, column))]
        adjusted = holm([test.p for test in tests])
        found |= {test.column: test.best for test, p in zip(tests, adjusted, strict=True) if p < ALPHA}
    return found


def _test(rows: Sequence[dict[Column, Cell]], column: Column) -> Test | None:
    sign = 1.0 if column.metric.higher_is_better else -1.0
    means = [
        (sign * mean, -index) for index, row in enumerate(rows) if (mean := row[column].mean) is not None
    ]
    if len(means) < 2:
        return None
    best, second = (-position for _, position in sorted(means, reverse=True)[:2])
    differences = sign * paired_differences(rows[best][column].pairs, rows[second][column].pairs)
    if differences.size < smallest_separable():
        return None
    p = sign_flip_test(differences) if differences.sum() > 0 else 1.0
    return Test(column, best, p)
