"""The comparisons that are declared, as `method:other`: whether there can be such, and what hinders each."""

from collections.abc import Sequence

from autolora_bench.config.choices import choices
from autolora_bench.config.experiment import COMPARE
from autolora_bench.errors import UserError, nearest
from autolora_bench.paths import conf_dir
from autolora_bench.plan import PlannedRun
from autolora_bench.report.rows import settings
from autolora_bench.report.runs import Run
from autolora_bench.report.scoreboard import Table


def family_of(
    compare: Sequence[str] | None, runs: Sequence[Run], planned: Sequence[PlannedRun] | None
) -> Sequence[str]:
    """The comparisons to test. Raises UserError where one is not `method:other` or names a method that is none."""
    if compare is None:
        return planned[0].experiment.compare if planned else COMPARE
    known = [*choices("method", [conf_dir()]), *(run.method for run in runs)]
    family: dict[frozenset[str], str] = {}
    for text in compare:
        first, _, second = text.partition(":")
        for method in (first, second):
            if method not in known or first == second:
                raise UserError(
                    f"compare={text} is no comparison of two methods",
                    f"{nearest(method, known)}write method:other, as in compare=autolora:lora,autolora:adalora",
                )
        family.setdefault(frozenset((first, second)), text)  # said twice, it is tested once
    return [*family.values()]


def untold(compare: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Comparisons that were asked for and have no runs."""
    there = {run.method for run in runs}
    missing = {text: [name for name in text.split(":") if name not in there] for text in compare}
    return [
        f"compare={text} is not tested: there are no runs of {' and '.join(names)}."
        for text, names in missing.items()
        if names
    ]


def without_pairs(family: Sequence[str], tables: Sequence[Table]) -> list[str]:
    """Declared comparisons of methods that have several scores of a task, which cannot be paired."""
    lines = []
    for table in tables:
        main = {
            row.method: place
            for place, row in enumerate(table.rows)
            if row.main and any(cell.n > 1 for cell in row.cells.values())
        }
        told = {frozenset((claim.first, claim.second)) for claim in table.claims}
        for text in family:
            methods = text.split(":")
            if {*methods} <= main.keys() and frozenset(main[one] for one in methods) not in told:
                lines.append(
                    f"compare={text} is not tested on {table.model}: their runs share fewer than two seeds of a task "
                    "with the same data."
                )
    return lines


def check_decided(compare: Sequence[str], tables: Sequence[Table]) -> None:
    """Raises UserError where a comparison was asked for of a method of which it is not known which row is meant."""
    for text in compare:
        for table in tables:
            for method in text.split(":"):
                variants = [row.variant for row in table.rows if row.method == method and row.undecided]
                if variants:
                    named = "; ".join(settings(variant) or "others on every task" for variant in variants)
                    raise UserError(
                        f"compare={text}: {method} has rows of several settings ({named}), and which of them are its "
                        "own is not known",
                        "name the folder that it comes from with --config-dir, or with records= records of one of them",
                    )
