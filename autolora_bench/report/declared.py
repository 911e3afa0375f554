"""The comparisons that are declared, as `method:other`: whether there can be such, and what hinders each."""

from collections.abc import Sequence

from autolora_bench.config.choices import choices
from autolora_bench.config.experiment import COMPARE
from autolora_bench.config.registry import own_folders
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir
from autolora_bench.plan import PlannedRun, distinct_comparisons, methods_of, side_of
from autolora_bench.report.rows import settings
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import Column, Row, Table, of_tasks, pair_named, rows_named


def family_of(
    compare: Sequence[str] | None, runs: Sequence[Run], planned: Sequence[PlannedRun] | None
) -> list[str]:
    """The comparisons to test, each once: those asked for, else those of the plan's suite, else the project's own.

    Raises:
        UserError: one is not `method:other`, or names a method that is none.
    """
    declared = planned[0].experiment.compare if planned else COMPARE
    known = [*choices("method", [*own_folders, conf_dir()]), *(run.method for run in runs)]
    return distinct_comparisons(declared if compare is None else compare, known)


def untold(compare: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Comparisons that were asked for and have no runs."""
    there = {run.method for run in runs}
    missing = {
        text: [name for name in dict.fromkeys(methods_of(text)) if name not in there] for text in compare
    }
    return [
        f"compare={text} is not tested: there are no runs of {' and '.join(names)}."
        for text, names in missing.items()
        if names
    ]


def without_pairs(family: Sequence[str], asked: Sequence[str], tables: Sequence[Table]) -> list[str]:
    """Declared comparisons of two rows that cannot be paired, and why.

    Args:
        family: declared comparisons.
        asked: those of them that were asked for by name. Another one is told of only where both methods have completed
            runs, and one of them several scores of a task.
        tables: with their claims.
    """
    lines = []
    shown = {row.method for table in tables for row in table.rows}
    for table in tables:
        lacking = shown - {row.method for row in table.rows}
        claimed = {frozenset((claim.first, claim.second)) for claim in table.claims}
        headlines = [column for column in table.columns if column.headline]
        for text in family:
            methods, pair = methods_of(text), pair_named(table.rows, text)
            absent = lacking.intersection(methods)
            there = any(row.main and row.method in methods for row in table.rows)
            if text in asked and len(absent) == 1 and there:
                lines.append(
                    f"compare={text} is not tested on {table.model}: there are no runs of {absent.pop()}."
                )
            if pair is None and {*methods} <= {row.method for row in table.rows}:
                lines += [
                    f"compare={text} is not tested on {table.model}: {one}." for one in _not_one(text, table)
                ]
            if pair is None or frozenset(pair) in claimed:
                continue
            rows = [table.rows[place] for place in pair]
            made = all(any(run.completed for run in row.runs) for row in rows)
            if text in asked or (made and any(_scored(row, headlines) > 1 for row in rows)):
                lines.append(f"compare={text} is not tested on {table.model}: {_why(rows, headlines)}.")
    return lines


def _not_one(text: str, table: Table) -> list[str]:
    """Sides that name a row by settings which none, or several, of a table's rows have."""
    stated = [side for side in text.split(":") if side_of(side)[1]]
    counts = {side: len(rows_named(table.rows, side)) for side in stated}
    return [f"{'several rows are' if n else 'no row is'} {side}" for side, n in counts.items() if n != 1]


def _why(rows: Sequence[Row], headlines: Sequence[Column]) -> str:
    """What hinders the comparison of two rows."""
    tasks = of_tasks(headlines)
    first, second = (row.cells for row in rows)
    controls = [column for column in headlines if column not in tasks]
    if any(len(first[column].pairs.keys() & second[column].pairs.keys()) > 1 for column in controls):
        return "they share several seeds on shuffled labels alone, a control that methods are not compared on"
    for most, lack in enumerate(("no headline score", "one scored seed of a task at most")):
        lacking = [row.label for row in rows if _scored(row, tasks) == most]
        if lacking:
            return f"{' and '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} {lack}"
    return "their scored runs share fewer than two seeds of a task with the same data"


def _scored(row: Row, columns: Sequence[Column]) -> int:
    """Most seeds with a score in one of the columns."""
    return max((row.cells[column].n for column in columns), default=0)


def check_decided(compare: Sequence[str], tables: Sequence[Table]) -> None:
    """Raises UserError where a comparison was asked for and it is not known which rows are meant: of a method whose own
    settings are not known, or by settings that none or several of its rows have."""
    for text in compare:
        for side in text.split(":"):
            method, stated = side_of(side)
            by_table = [own for table in tables if (own := [r for r in table.rows if r.method == method])]
            rows = [row for own in by_table for row in own]
            named = "; ".join(dict.fromkeys(settings(row.variant) or "others on every task" for row in rows))
            if not stated and any(row.undecided for row in rows):
                raise UserError(
                    f"compare={text}: {method} has rows of several settings ({named}), and which of them are its "
                    "own is not known",
                    f"say {method}/NAME=VALUE, or name the folder that it comes from with --config-dir",
                )
            if stated and rows and all(len(rows_named(own, side)) != 1 for own in by_table):
                raise UserError(
                    f"compare={text}: not one row of {method} has {' and '.join(stated)}",
                    f"its rows have {named}; say what only one of them has"
                    if max(map(len, by_table)) > 1
                    else f"there is one row of {method}: write {method}, or have records of the other shown too",
                )
        found = [[rows_named(table.rows, side) for side in text.split(":")] for table in tables]
        if any(len(one) == 1 and one == other for one, other in found) and not any(
            pair_named(table.rows, text) for table in tables
        ):
            raise UserError(f"compare={text} names one row twice", "name another row")
