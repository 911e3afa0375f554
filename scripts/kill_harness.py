"""Kills runs at random moments and shows that they end like a run that nobody disturbed.

    python scripts/kill_harness.py --kills 100 --methods lora,autolora,adalora,full

Every trial starts a small run on generated data with a checkpoint after every optimizer step, kills it (SIGKILL) one
to three times, each time inside a phase chosen at random, lets the same command finish, and compares scores, ranks,
counts and every file byte for byte with an undisturbed run. Exit status 0 when all trials are equal. The runs are
forks of this process, so that a trial costs no imports; Linux and macOS.
"""

import argparse
import dataclasses
import filecmp
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

from tiny_encoder import save_tiny_encoder

import autolora_bench.runner  # noqa: F401  (imported before the forks, so that they need not)
from autolora_bench import cli
from autolora_bench.ownership import LOCK
from autolora_bench.record import PhaseRecord, RunRecord, Status, find_records, read_record

SMALL = [
    "task=sst2",
    "model=any",
    "data=generated",
    "data.limit=32",
    "data.limit_evaluation=16",
    "device=cpu",
]
TRAIN = ["train.epochs=3", "train.batch_size=8", "train.checkpoint_minutes=1e-9", "~recipe", "~cell"]
TIMES = ("seconds", "train_seconds", "peak_memory_bytes")
MOST_KILLS = 3
PATIENCE = 300.0
WRITING_SECONDS = 0.05
"""About what writing a checkpoint takes."""


@dataclass(frozen=True)
class Cell:
    """A method's command, and its undisturbed run."""

    method: str
    words: list[str]
    results: Path
    record: RunRecord


@dataclass(frozen=True)
class Kill:
    """One kill: where it struck and what was there to go on from."""

    phase: str
    checkpoint: str


def words_of(method: str, encoder: Path, results: Path) -> list[str]:
    """The command line of a cell."""
    return [*SMALL, *TRAIN, f"method={method}", f"model.checkpoint={encoder}", f"results={results}"]


def start(words: list[str], log: Path) -> int:
    """Run the command line in a fork; returns its process id."""
    child = os.fork()
    if child == 0:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = 70
        try:
            code = cli.run(words)
        finally:
            os._exit(code)
    return child


def finish(child: int) -> int:
    """Wait for the process; its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def record_in(results: Path) -> RunRecord | None:
    """The only record below a results folder, if there is one yet."""
    path = next(find_records(results), None) if results.is_dir() else None
    return None if path is None else read_record(path)


@dataclass(frozen=True)
class Moment:
    """When to kill: a share of the undisturbed time into a phase, or just when a checkpoint begins to be written."""

    phase: PhaseRecord
    share: float
    step: int | None

    @classmethod
    def draw(cls, phase: PhaseRecord, chance: random.Random) -> "Moment":
        """At random; in a phase with steps, half of the moments are at a checkpoint."""
        at_checkpoint = phase.steps is not None and chance.random() < 0.5
        return cls(phase, chance.random(), chance.randint(1, phase.steps or 1) if at_checkpoint else None)

    def has_come(self, results: Path, begun: float) -> bool:
        """Whether it has come, with the phase running since `begun` (monotonic clock)."""
        if self.step is None:
            return time.monotonic() - begun >= self.share * self.phase.seconds
        steps = [
            int(path.name.split("-")[1])
            for path in results.rglob(f"{self.phase.name}/checkpoints/checkpoint-*")
        ]
        if max(steps, default=0) < self.step:
            return False
        time.sleep(self.share * WRITING_SECONDS)
        return True


def kill_in(child: int, results: Path, moment: Moment) -> Kill | None:
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
    return describe(record_in(results), results)


def describe(record: RunRecord | None, results: Path) -> Kill:
    """Where a kill struck, read off what is on disk."""
    if record is None:
        return Kill("before the record", "-")
    running = [entry.name for entry in record.phases if entry.status is Status.running]
    if not running:
        return Kill("between phases" if record.status is Status.running else "at the end", "-")
    found = sorted(results.rglob(f"{running[0]}/checkpoints/checkpoint-*"))
    torn = [path for path in found if not (path / "WHOLE").is_file()]
    return Kill(running[0], "none" if not found else "being written" if torn else "whole")


def differences(cell: Cell, results: Path) -> list[str]:
    """What is not as in the undisturbed run: fields of the record, names or bytes of files.

    The lock of a process that was killed when all was done does not count: nobody minds it.
    """
    record = record_in(results)
    if record is None:
        return ["no record"]
    found = [name for name, value in facts(cell.record).items() if facts(record)[name] != value]
    files = {
        side: {path.relative_to(side) for path in side.rglob("*") if path.is_file() and path.name != LOCK}
        for side in (cell.results, results)
    }
    found += [str(path) for path in files[cell.results] ^ files[results]]
    for path in files[cell.results] & files[results]:
        if path.name != "run.json" and not filecmp.cmp(cell.results / path, results / path, shallow=False):
            found.append(str(path))
    return found


def facts(record: RunRecord) -> dict[str, Any]:
    """The record without times, places and memory."""
    values = dataclasses.asdict(record)
    for name in ("started", "finished", "command", "locations", "provenance", "phases"):
        del values[name]
    for phase in record.phases:
        values[f"phase {phase.name}"] = _counts(phase)
    return values


def _counts(phase: PhaseRecord) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(phase).items() if name not in TIMES}


def undisturbed(method: str, encoder: Path, folder: Path) -> Cell:
    """Run a method's cell once, to compare with."""
    results = folder / "undisturbed" / method
    words = words_of(method, encoder, results)
    log = folder / f"{method}.log"
    code = finish(start(words, log))
    record = record_in(results)
    if code or record is None:
        sys.exit(f"the undisturbed run of {method} failed ({code}); see {log}")
    return Cell(method, words, results, record)


def trial(
    cell: Cell, folder: Path, number: int, kills: int, chance: random.Random
) -> tuple[list[Kill], list[str]]:
    """One run, killed up to `kills` times and then left alone: the kills, and the differences."""
    results, log = folder / f"trial{number}", folder / f"trial{number}.log"
    words = [*cell.words[:-1], f"results={results}"]
    phases = sorted({chance.randrange(len(cell.record.phases)) for _ in range(kills)})
    done = []
    for index in phases:
        moment = Moment.draw(cell.record.phases[index], chance)
        kill = kill_in(start(words, log), results, moment)
        if kill is None:
            break
        done.append(kill)
    code = finish(start(words, log))
    return done, [f"exit status {code}"] * bool(code) + differences(cell, results)


def main() -> int:
    """Run the trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--methods", default="lora,autolora,adalora,full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keeps the runs; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        os.environ["AUTOLORA_BENCH_CACHE"] = str(folder / "cache")
        return run_trials(folder, options.methods.split(","), options.kills, random.Random(options.seed))


def run_trials(folder: Path, methods: list[str], kills: int, chance: random.Random) -> int:
    """Trials in turn over the methods until `kills` kills struck. Returns 0 if all runs ended alike, else 1."""
    encoder = folder / "encoder"
    encoder.mkdir(parents=True, exist_ok=True)
    save_tiny_encoder(encoder)
    cells = [undisturbed(method, encoder, folder) for method in methods]
    print(f"{'trial':>5}  {'method':10} {'killed in':18} {'checkpoint':14} equal", flush=True)
    tally: Counter[tuple[str, str, bool]] = Counter()
    number = 0
    while tally.total() < kills:
        cell = cells[number % len(cells)]
        wanted = min(chance.randint(1, MOST_KILLS), kills - tally.total())
        done, differ = trial(cell, folder, number, wanted, chance)
        for kill in done:
            tally[cell.method, kill.phase, not differ] += 1
            verdict = "yes" if not differ else f"NO: {', '.join(differ)}"
            print(f"{number:5}  {cell.method:10} {kill.phase:18} {kill.checkpoint:14} {verdict}", flush=True)
        number += 1
    print(f"\n{'method':10} {'killed in':18} {'kills':>5} {'equal':>5}")
    for method, phase in sorted({key[:2] for key in tally}):
        equal, unequal = tally[method, phase, True], tally[method, phase, False]
        print(f"{method:10} {phase:18} {equal + unequal:5} {equal:5}")
    bad = sum(count for key, count in tally.items() if not key[2])
    print(f"{tally.total()} kills in {number} runs, {bad} not equal")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
