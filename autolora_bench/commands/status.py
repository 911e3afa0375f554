"""`autolora-bench status ...`: how far the runs of a command or a suite are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from autolora_bench.commands.options import print_json, split_json
from autolora_bench.fair import planned_runs
from autolora_bench.plan import State, described
from autolora_bench.request import read_request
from autolora_bench.untrusted import printable


def run(words: Sequence[str]) -> int:
    """Print a line per unfinished run with the command that finishes it, then the tally."""
    as_json, words = split_json(words)
    planned = planned_runs(replace(read_request(words), reads_data=False))
    states = [(entry, entry.state()) for entry in planned]
    if as_json:
        runs = [described(entry, state) for entry, state in states]
        print_json({"runs": runs, "left_out": planned.left_out, "later": planned.later})
        return 0
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
