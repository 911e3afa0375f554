"""What is meant to be run: one entry per cell and seed, with the command that runs it."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig, config_id, run_folder
from autolora_bench.config.identity import SHUFFLED
from autolora_bench.config.method import RankedLoraConfig
from autolora_bench.config.peft_method import choice_of
from autolora_bench.errors import UserError, nearest
from autolora_bench.ownership import owner_of
from autolora_bench.paths import RECORD
from autolora_bench.record import RunRecord, Status, read_record

PUSH = "push"
"""The setting that sends a run somewhere: no part of the run, and of no command that makes it again."""


class State(StrEnum):
    """How far a planned run is."""

    completed = "completed"
    running = "running"
    failed = "failed"
    interrupted = "interrupted"
    missing = "missing"
    unreadable = "unreadable"


@dataclass(frozen=True)
class PlannedRun:
    """One cell with one seed of a command or a suite."""

    experiment: ExperimentConfig
    overrides: tuple[str, ...]
    """Hydra overrides that, after `autolora-bench`, run exactly this."""

    @cached_property
    def folder(self) -> Path:
        """Where its record is or will be."""
        return run_folder(self.experiment)

    @property
    def command(self) -> str:
        """The command that runs or resumes it."""
        return command_line(self.experiment, self.overrides)

    @property
    def identity(self) -> tuple[str, str, str, str, int]:
        """As RunRecord.identity."""
        e = self.experiment
        return e.task.name, e.model.name, e.method.name, config_id(e), e.seed

    def record(self) -> RunRecord | None:
        """Its record, if there is one. Raises UserError as `record_of_seed` does."""
        path = self.folder / RECORD
        return record_of_seed(path, self.experiment.seed) if os.path.lexists(path) else None

    def state(self) -> State:
        """How far it is: completed, being run by a process that may still live, or what its record says.

        A record of a running run that nobody runs any more is one of an interrupted run.
        """
        try:
            record = self.record()
        except UserError:
            return State.unreadable
        if record is not None and record.status is Status.completed:
            return State.completed
        if owner_of(self.folder) is not None:
            return State.running
        if record is None:
            return State.missing
        return State.interrupted if record.status is Status.running else State(record.status.value)


def record_of_seed(path: Path, seed: int) -> RunRecord:
    """The record of a run with this seed.

    Raises:
        UserError: it cannot be read, or is a copy of another seed's.
    """
    record = read_record(path)
    if record.seed != seed:
        raise UserError(
            f"{path} is the record of seed {record.seed}, in the folder of seed {seed}",
            f"remove {path.parent}, or put it where it was made",
        )
    return record


def side_of(text: str) -> tuple[str, list[str]]:
    """The method that a side of a comparison names, and settings of one of its rows: `lora/rank=16/alpha=8`. Values may
    hold slashes."""
    method, *settings = re.split(r"/(?=[\w.]+=)", text)
    return method, settings


def methods_of(comparison: str) -> list[str]:
    """The two that `lora:eva` or `lora/rank=16:eva` names."""
    return [side_of(side)[0] for side in comparison.split(":")]


def distinct_comparisons(compare: Sequence[str], known: Sequence[str]) -> list[str]:
    """Declared comparisons, `method:other`, each once: the other way round it is the same one.

    Args:
        compare: as declared. A side may name settings too, `lora/rank=16`, and then both may be of one method.
        known: names of methods.

    Raises:
        UserError: one is not of two methods or rows, or names a method that is none.
    """
    found: dict[frozenset[str], str] = {}
    for text in compare:
        first, *others = sides = text.split(":")
        for side in sides:
            method, _ = side_of(side)
            if method not in known or len(others) != 1 or others == [first]:
                raise UserError(
                    f"compare={text} is no comparison of two methods",
                    f"{'' if method.partition('/')[0] in known else nearest(method, known)}write method:other, as in "
                    "compare=autolora:lora,autolora:adalora, or for rows of one method compare=lora/rank=16:lora",
                )
        found.setdefault(frozenset(sides), text)
    return [*found.values()]


def described(entry: PlannedRun, state: State) -> dict[str, str | int]:
    """A planned run for programs."""
    task, model, method, config, seed = entry.identity
    names: dict[str, str | int] = {
        "task": task,
        "model": model,
        "method": method,
        "config_id": config,
        "seed": seed,
    }
    return {**names, "state": state.value, "command": entry.command, "folder": str(entry.folder)}


def reference(experiment: ExperimentConfig) -> tuple[str, Path] | None:
    """The method that a control is compared with, and the folder of its run; None for what is no such control."""
    method = experiment.method
    if isinstance(method, RankedLoraConfig) and method.reference and method.source:
        return method.reference, Path(method.source) / f"seed{experiment.seed}"
    return None


def missing_references(planned: Sequence[PlannedRun], among: Sequence[PlannedRun] = ()) -> list[str]:
    """Which runs that controls of `planned` are compared with are neither there nor to be run before them, each once.

    Args:
        planned: the runs that are asked about, in the order in which they are run.
        among: what else was asked for, such as what another process is at.
    """
    own = {entry.folder for entry in planned}
    folders = {entry.folder for entry in among} - own
    found = []
    for entry in planned:
        folders.add(entry.folder)
        compared = reference(entry.experiment)
        if compared is not None and compared[1] not in folders and not has_ranks(compared[1] / RECORD):
            name, folder = compared
            found.append(f"{folder}, a finished run of {name} for {entry.experiment.method.name}")
    return list(dict.fromkeys(found))


def check_references(planned: Sequence[PlannedRun], among: Sequence[PlannedRun]) -> None:
    """Raises UserError where a control has nothing to be compared with. Arguments as of `missing_references`."""
    lacking = missing_references(planned, among)
    if lacking:
        more = f", and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise UserError(
            f"there is no {lacking[0]}{more}",
            "run it first, or before the control in one sweep: -m method=autolora,...; or give the control a command "
            "of its own, with method.reference=METHOD (another that learns ranks), method.source=RUN or method.total=N",
        )


def has_ranks(path: Path) -> bool:
    """Whether a record can be read and has ranks."""
    try:
        return bool(read_record(path).ranks)
    except UserError:
        return False


def command_line(experiment: ExperimentConfig, words: Sequence[str]) -> str:
    """The command, quoted for a shell, that runs exactly `experiment` when `words` are what it was composed from.

    Task and method are always said, so that it is a run even where every word is a default. Where the folder of local
    data is not known, DIR stands for it. Where it was sent is left out: who repeats it may not send it there; and so is
    `rerun`, by which it would begin anew, or not at all.
    """
    words = [word for word in words if word.lstrip("+").partition("=")[0] not in (PUSH, "rerun")]
    said = {word.lstrip("+").partition("=")[0] for word in words}
    shuffled = SHUFFLED if experiment.data.shuffle_labels else ""
    chosen = {"task": experiment.task.name.removesuffix(shuffled), "method": choice_of(experiment.method)}
    defaults = [f"{group}={name}" for group, name in chosen.items() if group not in said]
    if experiment.data.source is Source.local and experiment.data.dir is None:
        defaults.append("data.dir=DIR")
    return shlex.join(["autolora-bench", *words, *defaults])
