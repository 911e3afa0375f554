"""Whether a cell is to be run, resumed, skipped or refused; made from the record, before torch is imported."""

from dataclasses import dataclass
from pathlib import Path

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig, Rerun, experiment_identity
from autolora_bench.data.files import file_fingerprint
from autolora_bench.errors import UserError
from autolora_bench.paths import RECORD
from autolora_bench.record import RunRecord, Status, TornRecordError, read_record


@dataclass(frozen=True)
class Decision:
    """What to do about one cell."""

    run: bool
    record: RunRecord | None = None
    """The record to go on from, or the one that makes running unnecessary."""
    problem: UserError | None = None
    """Why the cell can be neither run nor reused."""
    note: str = ""
    """What the user must know of it."""


def decide(experiment: ExperimentConfig, folder: Path) -> Decision:
    """Apply the rerun policy to the record in `folder`, if there is one."""
    path = folder / RECORD
    if experiment.rerun is Rerun.all:
        return Decision(True)
    if not path.is_file():
        return Decision(experiment.rerun is not Rerun.failed)
    try:
        record = read_record(path)
    except TornRecordError as error:
        return Decision(experiment.rerun is not Rerun.failed, note=f"{error.what}: the run starts again")
    try:
        _check_same(experiment, record, path)
    except UserError as error:
        return Decision(False, problem=error)
    wanted = {
        Rerun.missing: record.status is not Status.completed,
        Rerun.failed: record.status is Status.failed,
        Rerun.never: False,
    }[experiment.rerun]
    return Decision(wanted, record)


def _check_same(experiment: ExperimentConfig, record: RunRecord, path: Path) -> None:
    """Raises UserError where the record is of another configuration or of other data than is asked for."""
    mend = "choose another folder with results=DIR, or start it again with rerun=all"
    if record.config != experiment_identity(experiment):
        raise UserError(f"{path} was made with another configuration than its folder's name says", mend)
    moved = record.locations.get("data.dir") != experiment.data.dir
    files = record.data.get("files")
    comparable = experiment.data.source is Source.local and moved and files is not None
    if comparable and file_fingerprint(experiment.task, experiment.data) != files:
        raise UserError(f"{path} was made with other files than those in {experiment.data.dir}", mend)
