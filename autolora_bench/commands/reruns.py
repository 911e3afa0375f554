"""Completed runs that are asked for again: none is given up for one that cannot start."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from autolora_bench.commands.check import missing
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.errors import UserError
from autolora_bench.paths import RECORD
from autolora_bench.plan import PlannedRun, State

Written = tuple[int, int]
"""Which file a record is: every writing makes another one, within one second too."""


def written(pending: Sequence[PlannedRun]) -> dict[Path, Written]:
    """The records of those of the runs that are completed already, by their folder."""
    found = {}
    for entry in pending:
        if entry.state() is State.completed:
            with suppress(OSError):
                of_file = (entry.folder / RECORD).stat()
                found[entry.folder] = (of_file.st_mtime_ns, of_file.st_ino)
    return found


def not_run_again(pending: Sequence[PlannedRun], before: Mapping[Path, Written]) -> list[PlannedRun]:
    """The runs whose records are those of `before` still."""
    after = written([entry for entry in pending if entry.folder in before])
    return [entry for entry in pending if after.get(entry.folder, "gone") == before.get(entry.folder)]


def check_can_start(experiment: ExperimentConfig) -> None:
    """Raises UserError where a completed record would be given up for nothing: this machine lacks the device, the data
    or the weights."""
    entry = PlannedRun(experiment, ())
    if entry.state() is not State.completed:
        return
    from autolora_bench import devices

    problems = missing(entry)
    if problems:
        raise UserError(
            f"missing: {problems[0]}", f"nothing was run, and the record in {entry.folder} is as it was"
        )
    devices.device(experiment)
