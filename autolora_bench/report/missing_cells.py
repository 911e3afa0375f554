"""Lists what a table lacks, with the command that makes it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from autolora_bench.report.rows import RowRuns
from autolora_bench.report.runs import Run, grouped
from autolora_bench.report.scoreboard import Unfilled

Made = TypeVar("Made", Run, Unfilled)
"""What a command makes."""


def unfilled_of(rows: Sequence[RowRuns]) -> list[Unfilled]:
    """Every run without a completed record, by row; runs that differ only by seed or task share a command."""
    return [gap for row in rows for gap in _join_tasks(_by_task(row))]


def _by_task(row: RowRuns) -> list[Unfilled]:
    found = []
    lacking = (run for run in row.runs if run.completed is None)
    for task, open_runs in grouped(lacking, lambda run: run.task).items():
        for command, runs in join(open_runs, "seed", lambda run: str(run.seed)).items():
            found.append(Unfilled(row.label, (task,), _states(runs), command))
    return found


def _join_tasks(gaps: Sequence[Unfilled]) -> list[Unfilled]:
    """Gaps of one row with the same states, joined where their commands differ in nothing but the task."""
    by_state = grouped(gaps, lambda gap: gap.states)
    joined = [join(group, "task", lambda gap: gap.tasks[0]) for group in by_state.values()]
    return [
        replace(members[0], tasks=tuple(gap.tasks[0] for gap in members), command=command)
        for commands in joined
        for command, members in commands.items()
    ]


def _states(runs: Sequence[Run]) -> str:
    by_reason = grouped(sorted(runs, key=lambda run: run.seed), _reason)
    return "; ".join(
        f"{why} (seed {', '.join(str(run.seed) for run in own)})" for why, own in by_reason.items()
    )


def _reason(run: Run) -> str:
    """`failed: ValueError: no such file`, shortened to a line."""
    error = run.record.error if run.record else None
    if not error:
        return run.state.value
    words = " ".join(f"{error.get('type', 'error')}: {error.get('message', '')}".split())
    return f"{run.state.value}: {words[:160]}"


def join(runs: Sequence[Made], name: str, value: Callable[[Made], str]) -> dict[str, list[Made]]:
    """Command -> what it makes: `-m ... seed=0,1,2` where commands differ in nothing but one word.

    Args:
        runs: runs or gaps, each with its command.
        name: of the setting that may differ, such as seed.
        value: what a command says of it; a command that says something else is left alone.
    """
    stated = re.compile(rf"(?<!\S){name}=(\S+)")
    groups = grouped(runs, lambda run: stated.sub(f"{name}=*", run.command, count=1))
    commands = {}
    for pattern, members in groups.items():
        values = list(dict.fromkeys(value(run) for run in members))
        if len(values) > 1 and all(_says(stated, run.command, value(run)) for run in members):
            commands[_sweep(pattern.replace(f"{name}=*", f"{name}={','.join(values)}", 1))] = members
        else:
            commands.update({run.command: [run] for run in members})
    return commands


def _says(stated: re.Pattern[str], command: str, value: str) -> bool:
    match = stated.search(command)
    return match is not None and match[1] == value


def _sweep(command: str) -> str:
    """The command as a sweep: `-m` after the program's name."""
    program, _, rest = command.partition(" ")
    return command if {"-m", "--multirun"} & set(rest.split()) else f"{program} -m {rest}"
