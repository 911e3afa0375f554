"""Whether a cell is to be run, resumed, skipped or refused; made from the record, before torch is imported.

A completed run that was asked for again, and was not made again, is told by its record: `written`, `not_run_again`.
"""

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig, Rerun, experiment_identity
from autolora_bench.data.files import file_digests, file_fingerprint, local_files
from autolora_bench.errors import UserError
from autolora_bench.models.locate import model_digests
from autolora_bench.ownership import owner_of
from autolora_bench.paths import RECORD
from autolora_bench.plan import PlannedRun, State, record_of_seed
from autolora_bench.record import PRETRAINED, RunRecord, Status, TornRecordError, read_record
from autolora_bench.run_files import link_error, link_in


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
    """Apply the rerun policy to the record in `folder`, if there is one; nothing runs where a link leads elsewhere."""
    decision = _by_policy(experiment, folder)
    link = link_in(Path(experiment.results).expanduser(), folder) if decision.run else None
    return decision if link is None else Decision(False, problem=link_error(link))


def _by_policy(experiment: ExperimentConfig, folder: Path) -> Decision:
    path = folder / RECORD
    if experiment.rerun is Rerun.all:
        return Decision(True)
    if not os.path.lexists(path):
        try:
            _check_not_begun_on_other_files(experiment, folder)
        except UserError as error:
            return Decision(False, problem=error)
        return Decision(experiment.rerun is not Rerun.failed)
    try:
        record = record_of_seed(path, experiment.seed)
        _check_same(experiment, record, path)
    except TornRecordError as error:
        return Decision(experiment.rerun is not Rerun.failed, note=f"{error.what}: the run starts again")
    except UserError as error:
        return Decision(False, problem=error)
    wanted = {
        Rerun.missing: record.status is not Status.completed,
        Rerun.failed: record.status is Status.failed,
        Rerun.never: False,
    }[experiment.rerun]
    return Decision(wanted, record)


def _check_not_begun_on_other_files(experiment: ExperimentConfig, folder: Path) -> None:
    """Raises UserError where this very run was begun and interrupted while the user's own files held something else.

    Their content is part of a run's identity: without this, the interrupted run would be left lying and another begun.
    """
    files = experiment.task.files
    if files is None:
        return
    method, identity = experiment.method.name, experiment_identity(experiment)
    for path in sorted(folder.parent.parent.glob(f"{glob.escape(method)}-*/{folder.name}/{RECORD}")):
        try:
            record = read_record(path)
        except UserError:
            continue
        same = all(record.config.get(part) == identity[part] for part in ("model", "data", "method", "train"))
        begun = record.status in (Status.running, Status.interrupted) and owner_of(path.parent) is None
        known = (record.config["task"].get("files") or {}).get("sha256") or {}
        changed = [
            f"data.{split}={place}"
            for split, place in experiment.data.tables.items()
            if record.locations.get(f"data.{split}") == place
            and known.get(split, files.sha256[split]) != files.sha256[split]
        ]
        if same and begun and changed:
            raise UserError(
                f"{', '.join(changed)} changed since {path} was begun, which was interrupted",
                "put back what was there to go on from it, or say rerun=all to run with the new data",
            )


def _check_same(experiment: ExperimentConfig, record: RunRecord, path: Path) -> None:
    """Raises UserError where the record is of another configuration or of other data than is asked for.

    A completed run's data is read again only where another folder is named, or a file is newer than the run.
    """
    mend = "choose another folder with results=DIR, or start it again with rerun=all"
    if record.config != experiment_identity(experiment):
        raise UserError(f"{path} was made with another configuration than its folder's name says", mend)
    _check_same_weights(experiment, record, path, mend)
    task, data = experiment.task, experiment.data
    moved = record.locations.get("data.dir") != data.dir
    files = record.data.get("files")
    if data.source is not Source.local or files is None:
        return
    again = moved or record.status is not Status.completed or _is_newer(_data_files(experiment), record)
    if again and file_fingerprint(task, data) != files:
        known = record.inputs.get("data", {})
        changed = [name for name, digest in file_digests(task, data).items() if known.get(name) != digest]
        named = f" ({', '.join(changed)})" if known else ""
        raise UserError(
            f"{path} was made with other files than those in {data.dir}{named}",
            f"put back what was there, {mend}",
        )


def _check_same_weights(experiment: ExperimentConfig, record: RunRecord, path: Path, mend: str) -> None:
    """Raises UserError where the files of the model's own folder have changed since a run was completed.

    They are read only where one of them is newer than the run; one that goes on compares them itself.
    """
    model, known = experiment.model, record.inputs.get(PRETRAINED)
    folder = Path(model.checkpoint or model.path or "").expanduser()
    if record.status is not Status.completed or not known or not (model.checkpoint or model.path):
        return
    if not folder.is_dir() or not _is_newer([folder / name for name in known], record):
        return
    changed = [name for name, digest in model_digests(model).items() if known.get(name) != digest]
    if changed:
        raise UserError(
            f"{path} was made with other weights than those in {folder} ({', '.join(changed)})",
            f"put back what was there, {mend}",
        )


def _data_files(experiment: ExperimentConfig) -> list[Path]:
    """The files of data.dir; none where some are gone, for a completed run needs them no more."""
    try:
        return list(chain.from_iterable(local_files(experiment.task, experiment.data).values()))
    except UserError:
        return []


def _is_newer(files: Iterable[Path], record: RunRecord) -> bool:
    """Whether a file was written, or came to its place, after the run was begun: a copy may keep its old time."""
    made = datetime.fromisoformat(record.started).timestamp() if record.started else 0.0
    times = [file.stat() for file in files if file.is_file()]
    return any(max(time.st_mtime, time.st_ctime) > made for time in times)


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
