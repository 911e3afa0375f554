"""What a command costs before it does anything: the bare call, `ls`, `status`, against `python -c pass`.

    python benchmarks/start.py

Every command is a process of its own; they take turns. Printed are the median over the rounds of CPU seconds (of the
process and its children, which repeats on a busy machine) and of wall seconds, less those of `python -c pass`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from rounds import Seconds

PROGRAM = [sys.executable, "-m", "autolora_bench"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "autolora-bench": PROGRAM,
    "autolora-bench ls": [*PROGRAM, "ls"],
    "autolora-bench status": [*PROGRAM, "status", "suite=table1", "data=generated"],
}


def seconds(command: list[str]) -> Seconds:
    """Of one process, from its start to its end."""
    used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return Seconds(time.perf_counter() - begun, cpu)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    found: dict[str, list[Seconds]] = {name: [] for name in COMMANDS}
    for _ in range(options.rounds):
        for name, command in COMMANDS.items():
            found[name].append(seconds(command))
    floor = found["python -c pass"]
    print(f"{'command':24}{'CPU s more (range)':>26}{'wall s more (range)':>26}")
    for name, values in found.items():
        shown = []
        for clock in ("cpu", "wall"):
            more = [getattr(a, clock) - getattr(b, clock) for a, b in zip(values, floor, strict=True)]
            shown.append(f"{statistics.median(more):.2f} ({min(more):.2f} to {max(more):.2f})")
        print(f"{name:24}{shown[0]:>26}{shown[1]:>26}")


if __name__ == "__main__":
    main()
