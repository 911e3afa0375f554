"""What a command costs before it trains anything: the bare call, `ls`, `status`, a report, against `python -c pass`.

    python benchmarks/start.py
    python benchmarks/start.py --cold        `status` of suites and a report, each with an empty cache
    python benchmarks/start.py --against CHECKOUT        the same commands by an older state's code, in turns

Every command is a process of its own; they take turns. Printed are the median over the rounds of CPU seconds (of the
process and its children, which repeats on a busy machine) and of wall seconds, less those of `python -c pass`. With
--against also the ratio of whole commands' CPU seconds, this state's over the other's, pair by pair; both read the
records of the other, which an older state can read.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rounds import Seconds

FLOOR = "python -c pass"
ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-m", "autolora_bench"]
COMMANDS = {
    FLOOR: [sys.executable, "-c", "pass"],
    "autolora-bench": PROGRAM,
    "autolora-bench ls": [*PROGRAM, "ls"],
    "autolora-bench ls methods": [*PROGRAM, "ls", "methods"],
    "autolora-bench status": [*PROGRAM, "status", "suite=table1", "data=generated"],
    "status suite=fair": [*PROGRAM, "status", "suite=fair"],
    "status suite=arena": [*PROGRAM, "status", "suite=arena"],
    "autolora-bench report": [*PROGRAM, "report", "records=results/records"],
}
COLD = {
    **{
        f"status suite={suite}": [*PROGRAM, "status", f"suite={suite}", *words]
        for suite, *words in (
            ("table1", "data=generated"),
            ("methods", "data=generated"),
            ("minilm_glue", "data=generated"),
            ("peft_all", "data=generated"),
            ("arena",),
        )
    },
    "report, figures too": [*PROGRAM, "report", "records=results/records"],
}


def seconds(command: list[str], cache: str | None = None, checkout: Path = ROOT) -> Seconds:
    """Of one process, from its start to its end.

    Args:
        command: what is run.
        cache: folder of the cache, the user's own if not said.
        checkout: whose code is run.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    if cache is not None:
        environment["AUTOLORA_BENCH_CACHE"] = cache
    used, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment, cwd=checkout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return Seconds(time.perf_counter() - begun, cpu)


def compare(other: Path, rounds: int) -> None:
    """Print the ratios of this state's commands to another's."""
    print(f"{'command':28}{'this / other (range)':>28}{'CPU s':>8}{'other':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, command in COMMANDS.items():
            own = [word.replace("records=results", f"records={other}/results") for word in command]
            pairs = []
            for _ in range(rounds + 1):
                this = seconds(own, f"{folder}/this").cpu
                try:
                    pairs.append((this, seconds(own, f"{folder}/other", other).cpu))
                except subprocess.CalledProcessError:  # a suite, say, that the older state does not have
                    break
            if not pairs:
                print(f"{name:28}{'not there':>28}", flush=True)
                continue
            pairs = pairs[1:]  # the first compiles and fills the cache
            ratios = [this / that for this, that in pairs]
            shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            own_cpu, other_cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
            print(f"{name:28}{shown:>28}{own_cpu:8.2f}{other_cpu:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--cold", action="store_true", help="commands that keep what they find out in the cache"
    )
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="a folder with another state's code")
    options = parser.parse_args()
    if options.against is not None:
        if options.cold or not (options.against / "autolora_bench").is_dir():
            parser.error("--against names a folder that holds autolora_bench/, and goes without --cold")
        compare(options.against.resolve(), options.rounds)
        return
    commands = {FLOOR: COMMANDS[FLOOR], **COLD} if options.cold else COMMANDS
    found: dict[str, list[Seconds]] = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            if not options.cold:
                found[name].append(seconds(command))
                continue
            with tempfile.TemporaryDirectory() as folder:
                out = [f"out={folder}/report"] if "report" in command else []
                found[name].append(seconds([*command, *out], f"{folder}/cache"))
    floor = found[FLOOR]
    print(f"{'command':24}{'CPU s more (range)':>26}{'wall s more (range)':>26}")
    for name, values in found.items():
        shown = []
        for clock in ("cpu", "wall"):
            more = [getattr(a, clock) - getattr(b, clock) for a, b in zip(values, floor, strict=True)]
            shown.append(f"{statistics.median(more):.2f} ({min(more):.2f} to {max(more):.2f})")
        print(f"{name:24}{shown[0]:>26}{shown[1]:>26}")


if __name__ == "__main__":
    main()
