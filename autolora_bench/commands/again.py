"""Completed runs that are asked for again: none is given up for one that cannot start."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from autolora_bench.commands.check import missing
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun, State


def started(pending: Sequence[PlannedRun]) -> dict[Path, str | None]:
    """When those of the runs started that are completed already, by their folder."""
    completed = [entry for entry in pending if entry.state() is State.completed]
    return {entry.folder: record.started for entry in completed if (record := entry.record())}


def not_run_again(pending: Sequence[PlannedRun], before: Mapping[Path, str | None]) -> list[PlannedRun]:
    """The runs whose records are those of `before` still."""
    after = started([entry for entry in pending if entry.folder in before])
    return [
        entry for entry in pending if entry.folder in after and after[entry.folder] == before[entry.folder]
    ]


def check_can_start(experiment: ExperimentConfig) -> None:
    """Raises UserError where a completed record would be given up for nothing: this machine lacks the device, the data
    or the weights."""
    entry = PlannedRun(experiment, ())
    if entry.state() is not State.completed:
        return
    from autolora_bench import machine

    problems = missing(entry)
    if problems:
        raise UserError(
            f"missing: {problems[0]}", f"nothing was run, and the record in {entry.folder} is as it was"
        )
    machine.device(experiment)
