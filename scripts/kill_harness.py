"""Kills runs at random moments and shows that they end like a run that nobody disturbed.

    python scripts/kill_harness.py --kills 100 --tasks sst2,bionlp,e2e --methods lora,autolora,adalora,full

Every trial starts a small run on generated data with a checkpoint after every optimizer step, kills it (SIGKILL) one
to three times, each time inside a phase chosen at random, lets the same command finish, and compares scores, ranks,
counts and every file byte for byte with an undisturbed run. Exit status 0 when all trials are equal. The runs are
forks of this process, so that a trial costs no imports; Linux and macOS.
"""

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

from kill_cells import TASKS, Cell, Models, decoded, differences, finish, record_in, start, undisturbed

import autolora_bench.runner  # noqa: F401  (imported before the forks, so that they need not)
from autolora_bench.record import PhaseRecord, RunRecord, Status

MOST_KILLS = 3
PATIENCE = 300.0
WRITING_SECONDS = 0.05
"""About what writing a checkpoint takes."""


@dataclass(frozen=True)
class Kill:
    """One kill: where it struck and what was there to go on from."""

    phase: str
    left: str


@dataclass(frozen=True)
class Moment:
    """When to kill: a share of the undisturbed time into a phase, or soon after a mark on disk.

    Marks are checkpoints that begin to be written, by their steps, and decoded batches, by their number.
    """

    phase: PhaseRecord
    share: float
    mark: int | None

    @classmethod
    def draw(cls, cell: Cell, phase: PhaseRecord, chance: random.Random) -> "Moment":
        """At random; in a phase with marks, half of the moments are at one."""
        marks = cell.batches if phase.name == "evaluate" else phase.steps
        at_mark = bool(marks) and chance.random() < 0.5
        return cls(phase, chance.random(), chance.randint(1, marks or 1) if at_mark else None)

    def has_come(self, results: Path, begun: float) -> bool:
        """Whether it has come, with the phase running since `begun` (monotonic clock)."""
        if self.mark is None:
            return time.monotonic() - begun >= self.share * self.phase.seconds
        if self._newest(results) < self.mark:
            return False
        time.sleep(self.share * WRITING_SECONDS)
        return True

    def _newest(self, results: Path) -> int:
        if self.phase.name == "evaluate":
            return decoded(results)
        checkpoints = results.rglob(f"{self.phase.name}/checkpoints/checkpoint-*")
        return max((int(path.name.split("-")[1]) for path in checkpoints), default=0)


def kill_in(child: int, cell: Cell, results: Path, moment: Moment) -> Kill | None:
    """Kill the process at the moment; None where it ended before."""
    begun: float | None = None
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        record = record_in(results)
        current = record and record.phase(moment.phase.name)
        if current is not None and begun is None:
            begun = time.monotonic()
        done = current is not None and current.status is Status.completed
        if begun is not None and (done or moment.has_come(results, begun)):
            break
        if os.waitpid(child, os.WNOHANG)[0]:
            return None
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return describe(cell, record_in(results), results)


def describe(cell: Cell, record: RunRecord | None, results: Path) -> Kill:
    """Where a kill struck, read off what is on disk."""
    if record is None:
        return Kill("before the record", "-")
    running = [entry.name for entry in record.phases if entry.status is Status.running]
    if not running:
        return Kill("between phases" if record.status is Status.running else "at the end", "-")
    if running[0] == "evaluate":
        batches = decoded(results)
        return Kill("decoding", f"{batches} of {cell.batches}") if batches else Kill("evaluate", "-")
    found = sorted(results.rglob(f"{running[0]}/checkpoints/checkpoint-*"))
    torn = [path for path in found if not (path / "WHOLE").is_file()]
    return Kill(running[0], "none" if not found else "being written" if torn else "whole")


def trial(
    cell: Cell, folder: Path, number: int, kills: int, chance: random.Random
) -> tuple[list[Kill], list[str]]:
    """One run, killed up to `kills` times and then left alone: the kills, and the differences."""
    results, log = folder / f"trial{number}", folder / f"trial{number}.log"
    phases = sorted({chance.randrange(len(cell.record.phases)) for _ in range(kills)})
    done = []
    for index in phases:
        moment = Moment.draw(cell, cell.record.phases[index], chance)
        kill = kill_in(start(cell.words, results, log), cell, results, moment)
        if kill is None:
            break
        done.append(kill)
    code = finish(start(cell.words, results, log))
    return done, [f"exit status {code}"] * bool(code) + differences(cell, results)


def main() -> int:
    """Run the trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--methods", default="lora,autolora,adalora,full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keeps the runs; a temporary one by default")
    options = parser.parse_args()
    pairs = list(itertools.product(options.methods.split(","), options.tasks.split(",")))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        os.environ["AUTOLORA_BENCH_CACHE"] = str(folder / "cache")
        return run_trials(folder, pairs, options.kills, random.Random(options.seed))


def run_trials(folder: Path, pairs: Sequence[tuple[str, str]], kills: int, chance: random.Random) -> int:
    """Trials in turn over the cells until `kills` kills struck. Returns 0 if all runs ended alike, else 1."""
    models = Models.make(folder)
    cells = [undisturbed(task, method, models, folder) for method, task in pairs]
    print(f"{'trial':>5}  {'task':8} {'method':10} {'killed in':18} {'left':14} equal", flush=True)
    tally: Counter[tuple[str, str, str, bool]] = Counter()
    number = 0
    while tally.total() < kills:
        cell = cells[number % len(cells)]
        wanted = min(chance.randint(1, MOST_KILLS), kills - tally.total())
        done, differ = trial(cell, folder, number, wanted, chance)
        verdict = "yes" if not differ else f"NO: {', '.join(differ)}"
        for kill in done:
            tally[cell.task, cell.method, kill.phase, not differ] += 1
            row = f"{number:5}  {cell.task:8} {cell.method:10} {kill.phase:18} {kill.left:14} {verdict}"
            print(row, flush=True)
        number += 1
    return summarise(tally, number)


def summarise(tally: Counter[tuple[str, str, str, bool]], runs: int) -> int:
    """Print the kills by task, method and phase. Returns 0 if all runs ended alike, else 1."""
    print(f"\n{'task':8} {'method':10} {'killed in':18} {'kills':>5} {'equal':>5}")
    for task, method, phase in sorted({key[:3] for key in tally}):
        equal, unequal = tally[task, method, phase, True], tally[task, method, phase, False]
        print(f"{task:8} {method:10} {phase:18} {equal + unequal:5} {equal:5}")
    bad = sum(count for key, count in tally.items() if not key[-1])
    print(f"{tally.total()} kills in {runs} runs, {bad} not equal")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
