"""What is meant to be run: one entry per cell and seed, with the command that runs it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.errors import UserError
from autolora_bench.ownership import is_owned
from autolora_bench.paths import RECORD, run_folder
from autolora_bench.record import RunRecord, Status, read_record


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

    @property
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
        """Its record, if there is one. Raises UserError where it cannot be read."""
        path = self.folder / RECORD
        return read_record(path) if path.is_file() else None

    def state(self) -> State:
        """How far it is, by its record; one that nobody is running any more was interrupted."""
        try:
            record = self.record()
        except UserError:
            return State.unreadable
        if record is None:
            return State.missing
        abandoned = record.status is Status.running and not is_owned(self.folder)
        return State.interrupted if abandoned else State(record.status.value)


def command_line(experiment: ExperimentConfig, words: Sequence[str]) -> str:
    """The command, quoted for a shell, that runs exactly `experiment` when `words` are what it was composed from.

    Task and method are always said, so that it is a run even where every word is a default. Where the folder of local
    data is not known, DIR stands for it.
    """
    said = {word.partition("=")[0] for word in words}
    defaults = [
        f"{group}={getattr(experiment, group).name}" for group in ("task", "method") if group not in said
    ]
    if experiment.data.source is Source.local and experiment.data.dir is None:
        defaults.append("data.dir=DIR")
    return shlex.join(["autolora-bench", *words, *defaults])
