"""Who is ahead of whom in one column: every pair of rows, and the places that the separated pairs leave open.

The paired comparisons of the table, which are the declared ones where there are such, keep the answers of their family.
The other pairs of a column are tested by the same test and corrected among themselves, to say which rows tie, not to
claim anything new.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from autolora_bench.report.runs import PairKey
from autolora_bench.report.scoreboard import Cell, Claim, Column, Table, tasks_under
from autolora_bench.report.significance import (
    ALL_ROWS,
    bootstrap_interval,
    corrected,
    paired_differences,
)


@dataclass(frozen=True)
class Pair(Claim):
    """Two rows of a column, as a claim on its score."""

    interval: tuple[float, float] | None = None
    """95 %; None where there are too few pairs, and of long tables for pairs that are not claimed."""
    claimed: bool = False
    """Whether it is one of the table's paired comparisons."""


@dataclass(frozen=True)
class Standings:
    """One column."""

    column: Column
    pairs: tuple[Pair, ...]
    order: tuple[int, ...]
    """Rows with a score, the best mean first."""

    def ties(self, row: int) -> list[int]:
        """The other rows that are not separated from this one, the best first."""
        apart = {one.second if one.first == row else one.first for one in self._of(row) if one.separated}
        return [other for other in self.order if other != row and other not in apart]

    def places(self, row: int) -> tuple[int, int]:
        """The best and the worst place that the separated pairs leave open to a row; ties share them."""
        ahead = behind = 0
        for one in self._of(row):
            if one.separated:
                won = (one.mean > 0) == (one.first == row)
                ahead, behind = ahead + (not won), behind + won
        return 1 + ahead, len(self.order) - behind

    @property
    def tested(self) -> bool:
        """Whether any pair has enough units to be separated."""
        return any(one.adjusted is not None for one in self.pairs)

    def _of(self, row: int) -> list[Pair]:
        return [one for one in self.pairs if row in (one.first, one.second)]


def main_column(table: Table) -> Column | None:
    """What a table is ordered by: the average if two rows have one, else the headline score that most rows have."""
    known = {
        column: sum(row.cells[column].mean is not None for row in table.rows) for column in table.columns
    }
    averages = [column for column in table.columns if column.is_average and known[column] > 1]
    headlines = [column for column in table.columns if column.headline and known[column]]
    return averages[0] if averages else max(headlines, key=lambda column: known[column], default=None)


def fullest(standings: Sequence[Standings]) -> Standings | None:
    """The one with most rows, of equal ones the first."""
    return max(standings, key=lambda one: len(one.order), default=None)


def shown_columns(table: Table) -> list[Column]:
    """The main column, then the other averages and headline scores."""
    first = main_column(table)
    rest = [
        c for c in table.columns if (c.headline or c.is_average) and any(r.cells[c].n for r in table.rows)
    ]
    return list(dict.fromkeys([*([first] if first else []), *rest]))


def standings_of(table: Table, column: Column) -> Standings:
    """The pairs and the order of one headline score or average; of an average, pairs that share seeds of all tasks."""
    sign = 1.0 if column.metric.higher_is_better else -1.0
    cells = [row.cells[column] for row in table.rows]
    scored = [(sign * cell.mean, -place) for place, cell in enumerate(cells) if cell.mean is not None]
    order = tuple(-place for _, place in sorted(scored, reverse=True))
    claimed, tasks = _claimed(table, column), tasks_under(column, table.columns)
    known, others = [], []
    for pair in combinations(sorted(order), 2):
        by_task = _differences(cells[pair[0]], cells[pair[1]], sign)
        if by_task.keys() == tasks:
            wanted = pair in claimed or len(table.rows) <= ALL_ROWS
            interval = bootstrap_interval([*by_task.values()]) if wanted else None
            one = Pair(*pair, (column,), tuple(by_task.values()), interval=interval, claimed=pair in claimed)
            if one.claimed:
                known.append(replace(one, adjusted=claimed[pair]))
            else:
                others.append(one)
    return Standings(column, (*known, *corrected(others)), order)


def _claimed(table: Table, column: Column) -> dict[tuple[int, int], float | None]:
    """Both rows of every paired comparison of this column, in the table's order -> its adjusted p."""
    found = {}
    tasks = tasks_under(column, table.columns)
    for claim in table.claims:
        alone = claim.columns == (column,)
        over_tasks = (
            column.is_average
            and {one.task for one in claim.columns} == tasks
            and column.epoch in {one.epoch for one in claim.columns}
        )
        if alone or over_tasks:
            first, second = sorted((claim.first, claim.second))
            found[first, second] = claim.adjusted
    return found


def _differences(first: Cell, second: Cell, sign: float) -> dict[str, tuple[float, ...]]:
    """By task, over the seeds that both have; no task without any."""
    tasks: dict[str, tuple[dict[PairKey, float], dict[PairKey, float]]] = defaultdict(lambda: ({}, {}))
    for side, cell in enumerate((first, second)):
        for key, score in cell.pairs.items():
            tasks[key[0]][side][key] = score
    found = {task: tuple((sign * paired_differences(*sides)).tolist()) for task, sides in tasks.items()}
    return {task: values for task, values in found.items() if values}
