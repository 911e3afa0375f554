"""Lists what a table lacks, with the command that makes it."""

import re
from collections.abc import Sequence

from autolora_bench.report.entries import Entry
from autolora_bench.report.scoreboard import Row, Unfilled

SEED = re.compile(r"(?<!\S)seed=(\d+)")


def unfilled_of(rows: Sequence[Row]) -> list[Unfilled]:
    """Every run without a completed record, by row and task; runs that differ only by seed share a command."""
    found = []
    for row in rows:
        for task in dict.fromkeys(column.task for column in row.cells):
            entries = next(cell.entries for column, cell in row.cells.items() if column.task == task)
            open_runs = [entry for entry in entries if entry.completed is None]
            for command, runs in join_seeds(open_runs).items():
                found.append(Unfilled(f"{row.label}, {task}: {_states(runs)}", command))
    return found


def _states(runs: Sequence[Entry]) -> str:
    by_state: dict[str, list[str]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        by_state.setdefault(_reason(run), []).append(str(run.seed))
    return "; ".join(f"{reason} (seed {', '.join(seeds)})" for reason, seeds in by_state.items())


def _reason(run: Entry) -> str:
    """`failed: ValueError: no such file`, shortened to a line."""
    error = run.record.error if run.record else None
    if not error:
        return run.state.value
    words = " ".join(f"{error.get('type', 'error')}: {error.get('message', '')}".split())
    return f"{run.state.value}: {words[:160]}"


def join_seeds(runs: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Command -> the runs it makes: `-m ... seed=0,1,2` where commands differ in nothing but the seed."""
    groups: dict[str, list[Entry]] = {}
    for run in runs:
        groups.setdefault(SEED.sub("seed=*", run.command, count=1), []).append(run)
    commands = {}
    for pattern, members in groups.items():
        seeds = sorted({run.seed for run in members})
        stated = [SEED.search(run.command) for run in members]
        if len(seeds) > 1 and all(
            match and int(match[1]) == run.seed for match, run in zip(stated, members, strict=True)
        ):
            commands[_sweep(pattern.replace("seed=*", f"seed={','.join(map(str, seeds))}", 1))] = members
        else:
            commands.update({run.command: [run] for run in members})
    return commands


def _sweep(command: str) -> str:
    """The command as a sweep: `-m` after the program's name."""
    program, _, rest = command.partition(" ")
    return command if {"-m", "--multirun"} & set(rest.split()) else f"{program} -m {rest}"
