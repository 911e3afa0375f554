"""`autolora-bench status ...`: how far the runs of a command or a suite are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from autolora_bench.commands.request import read_request
from autolora_bench.fair import planned_runs
from autolora_bench.plan import State
from autolora_bench.untrusted import printable


def run(words: Sequence[str]) -> int:
    """Print a line per unfinished run with the command that finishes it, then the tally."""
    planned = planned_runs(replace(read_request(words), reads_data=False))
    states = [(entry, entry.state()) for entry in planned]
    for entry, state in states:
        if state is not State.completed:
            print(printable(f"{state.value:12}{entry.command}"))
    for line in planned.left_out:
        print(f"left out: {line}")
    for line in planned.later:
        print(f"later: {line}")
    tally = Counter(state for _, state in states)
    print(
        f"{len(planned)} runs: "
        + ", ".join(f"{tally[state]} {state.value}" for state in State if tally[state])
    )
    return 0
