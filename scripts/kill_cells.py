"""The small runs that the kill harness kills: a task of every kind with any method, and what two of them must share."""

import dataclasses
import filecmp
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tiny_decoder import save_tiny_decoder
from tiny_encoder import save_tiny_encoder

from autolora_bench import cli
from autolora_bench.ownership import LOCK
from autolora_bench.record import RunRecord, find_records, read_record
from autolora_bench.tasks.base import PARTIAL

DECODED_TOGETHER = 2
COMMON = [
    *("model=any", "data=generated", "data.limit_evaluation=16", "device=cpu", "~recipe", "~cell"),
    *("train.epochs=3", "train.batch_size=8", "train.checkpoint_minutes=1e-9"),
]
"""A checkpoint after every optimizer step."""
TASKS = {
    "sst2": ["task=sst2", "data.limit=32"],
    "bionlp": ["task=bionlp", "task.max_length=12", "task.stride=2", "data.limit=24"],
    "e2e": [
        *("task=e2e", "data.limit=12", "task.metrics=[bleu,nist]", "task.epoch_records=4"),
        *("task.decoding.beams=2", "task.decoding.max_new_tokens=8"),
        f"task.decoding.batch_size={DECODED_TOGETHER}",
    ],
}
"""Classification, tagging in overlapping windows, beam search."""
TIMES = ("seconds", "train_seconds", "train_cpu_seconds", "peak_memory_bytes")


@dataclass(frozen=True)
class Models:
    """Folders of the tiny models."""

    encoder: Path
    decoder: Path

    @classmethod
    def make(cls, folder: Path) -> "Models":
        """Save them below `folder`."""
        return cls(save_tiny_encoder(folder / "encoder"), save_tiny_decoder(folder / "decoder"))


@dataclass(frozen=True)
class Cell:
    """A task with a method: its command line without `results=`, and its undisturbed run."""

    task: str
    method: str
    words: list[str]
    results: Path
    record: RunRecord

    @cached_property
    def batches(self) -> int:
        """Batches that are decoded in the last phase; 0 where nothing is."""
        if self.task != "e2e":
            return 0
        splits = [
            path.read_text(encoding="utf-8").splitlines() for path in self.results.rglob("evaluate/*.jsonl")
        ]
        return sum(-(-len(records) // DECODED_TOGETHER) for records in splits)


def undisturbed(task: str, method: str, models: Models, folder: Path) -> Cell:
    """Run a cell once, to compare with."""
    model = models.decoder if task == "e2e" else models.encoder
    words = [*TASKS[task], *COMMON, f"method={method}", f"model.checkpoint={model}"]
    results, log = folder / "undisturbed" / task / method, folder / f"{task}-{method}.log"
    code = finish(start(words, results, log))
    record = record_in(results)
    if code or record is None:
        sys.exit(f"the undisturbed run of {method} on {task} failed ({code}); see {log}")
    return Cell(task, method, words, results, record)


def start(words: list[str], results: Path, log: Path) -> int:
    """Run the command line in a fork; returns its process id."""
    child = os.fork()
    if child == 0:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = 70
        try:
            code = cli.run([*words, f"results={results}"])
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


def decoded(results: Path) -> int:
    """Decoded batches that are on disk."""
    files = results.rglob(f"evaluate/*{PARTIAL}")
    return sum(max(0, path.read_bytes().count(b"\n") - 1) for path in files)


def differences(cell: Cell, results: Path) -> list[str]:
    """What is not as in the undisturbed run: fields of the record, names or bytes of files.

    The lock of a process that was killed when all was done does not count: nobody minds it.
    """
    record = record_in(results)
    if record is None:
        return ["no record"]
    found = [name for name, value in _facts(cell.record).items() if _facts(record).get(name) != value]
    files = {
        side: {path.relative_to(side) for path in side.rglob("*") if path.is_file() and path.name != LOCK}
        for side in (cell.results, results)
    }
    found += [str(path) for path in files[cell.results] ^ files[results]]
    for path in files[cell.results] & files[results]:
        if path.name != "run.json" and not filecmp.cmp(cell.results / path, results / path, shallow=False):
            found.append(str(path))
    return found


def _facts(record: RunRecord) -> dict[str, Any]:
    """The record without times, places and memory."""
    values = dataclasses.asdict(record)
    for name in ("started", "finished", "command", "locations", "provenance", "phases"):
        del values[name]
    for phase in record.phases:
        counts = dataclasses.asdict(phase)
        values[f"phase {phase.name}"] = {name: counts[name] for name in counts if name not in TIMES}
    return values
