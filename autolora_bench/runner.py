"""Runs one cell: its method's phases in order, each recorded as it ends. Knows no task and no method."""

import errno
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from autolora_bench import devices
from autolora_bench.checksums import crc32_of, damaged
from autolora_bench.config.computing import slow_arithmetic
from autolora_bench.config.experiment import ExperimentConfig, config_id, experiment_identity
from autolora_bench.config.registry import described, metric_digests
from autolora_bench.data.files import file_fingerprint
from autolora_bench.errors import UserError
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult, build_method
from autolora_bench.methods.evaluation import EvaluatePhase
from autolora_bench.methods.inputs import Inputs
from autolora_bench.metrics.registry import METRICS, lookup, own_metrics
from autolora_bench.models.preflight import check_model
from autolora_bench.portable import portable_command
from autolora_bench.processes import is_lost, is_main, meet, on_main, rank, world_size
from autolora_bench.provenance import provenance
from autolora_bench.record import PhaseRecord, RunRecord, Status, now, write_record
from autolora_bench.run_files import PHASE, RUN, clear
from autolora_bench.speedups.auto import decide_ways
from autolora_bench.training.checkpoints import CHECKPOINTS, remove_checkpoints
from autolora_bench.training.memory import is_out_of_memory
from autolora_bench.training.trackers import Trackers, tracked
from autolora_bench.training.trainer import DivergenceError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""What a disk answers that takes no more."""
COPIED = ("train_seconds", "train_cpu_seconds", "steps", "examples", "tokens", "flops", "artefact", "details")
STATED = ("method", "metrics")
"""Of the provenance, what the configuration says: known before anything is run."""
MERGED = ("history", "best", "last", "test", "parameters", "ranks")


def run_experiment(
    experiment: ExperimentConfig, folder: Path, command: str, earlier: RunRecord | None
) -> RunRecord:
    """Run what is missing of one cell and return its record, which is also on disk after every phase.

    Args:
        experiment: the cell.
        folder: the run's folder.
        command: the command that reproduces it.
        earlier: the record of an attempt to go on from; None starts afresh and removes what is in the folder.

    A failure becomes a record with status failed. KeyboardInterrupt leaves a record with status interrupted.

    Raises:
        UserError: the folder cannot be written.
    """
    if earlier is None:
        on_main(lambda: _clear(folder))
    record = _begin(experiment, command, earlier)
    on_main(lambda: write_record(folder, record))
    try:
        with _single_precision(), tracked(experiment, folder, record, fresh=earlier is None) as trackers:
            _run_phases(experiment, folder, record, trackers)
        record.status = Status.completed
    except KeyboardInterrupt:
        _stop(record, Status.interrupted)
        _write_if_main(folder, record)
        raise
    except Exception as error:
        _stop(record, Status.failed)
        record.error, record.finished = _describe(error), now()
        _write_if_main(folder, record)
        _check_together(record.error["message"])
        return record
    record.finished = now()
    on_main(lambda: write_record(folder, record))
    return record


@contextmanager
def _single_precision() -> Iterator[None]:
    """Within, new tensors are of single precision: a caller who made another type torch's default would have other
    numbers under the same identity."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _run_phases(experiment: ExperimentConfig, folder: Path, record: RunRecord, trackers: Trackers) -> None:
    devices.prepare(experiment)
    on_main(lambda: check_model(experiment))
    inputs = Inputs(record.inputs, lambda: _write_if_main(folder, record))
    device = devices.device(experiment)
    slow = slow_arithmetic(experiment) if device.type == "cpu" and is_main() else None
    if slow is not None:
        print(f"note: {slow}", file=sys.stderr, flush=True)
    noted = record.provenance.get("ways")
    ways = on_main(lambda: decide_ways(experiment, device, noted))
    context = PhaseContext(
        experiment,
        folder,
        device,
        inputs=inputs,
        trackers=trackers,
        ways=ways,
        command=portable_command(record.command),
    )
    method = build_method(experiment.method)
    phases = [*method.phases(), EvaluatePhase(method)]
    done = on_main(lambda: _done_before(phases, folder, record))
    found = {**provenance(), **devices.describe(context.device)}
    before = _earlier_provenance(record, found)
    record.provenance = {
        **found,
        "ways": ways,
        "source": record.provenance.get("source"),
        **{name: record.provenance[name] for name in STATED if name in record.provenance},
        **({"before": before} if before else {}),
    }
    for phase in phases[done:]:
        _run_phase(phase, context, folder, record)
        if is_main():
            remove_checkpoints(folder / phase.name / CHECKPOINTS)


def _earlier_provenance(record: RunRecord, found: dict[str, Any]) -> list[dict[str, Any]]:
    """What of the provenance of earlier attempts differs from that of the next one, an entry per attempt that does.
    What an older record does not tell is not a difference."""
    earlier: list[dict[str, Any]] = record.provenance.get("before") or []
    if not record.phases:
        return []
    changed = {
        name: record.provenance.get(name)
        for name in sorted(({*found} & {*record.provenance}) | {"processes"})
        if record.provenance.get(name) != found.get(name)
    }
    if changed and is_main():
        print(
            f"note: an earlier attempt of this run had another {', '.join(changed)}",
            file=sys.stderr,
            flush=True,
        )
    return [*earlier, changed] if changed else earlier


def _done_before(phases: Sequence[Phase], folder: Path, record: RunRecord) -> int:
    """How many of the phases need not run again: completed ones up to the first whose files are gone or damaged.

    What later phases made of such files is removed with them.
    """
    for number, phase in enumerate(phases):
        entry = record.phase(phase.name)
        if entry is None or entry.status is not Status.completed:
            return number
        problem = _problem(folder, entry)
        if problem:
            print(f"{problem}: the run starts again with phase {phase.name}", file=sys.stderr, flush=True)
            again = {later.name for later in phases[number:]}
            for name in again:
                clear(folder / name, RUN.inside(name) or PHASE)
            record.phases = [entry for entry in record.phases if entry.name not in again]
            return number
        remove_checkpoints(folder / phase.name / CHECKPOINTS)
    return len(phases)


def _run_phase(phase: Phase, context: PhaseContext, folder: Path, record: RunRecord) -> None:
    entry = record.phase(phase.name)
    if entry is None:
        entry = PhaseRecord(phase.name, Status.running)
        record.phases.append(entry)
    entry.status = Status.running
    on_main(lambda: write_record(folder, record))
    clock = _Clock(entry, context.device, devices.reset_peak_memory(context.device))
    context.saved = lambda: clock.write(folder, record)
    try:
        if not record.data:
            record.data = on_main(lambda: _describe_data(context))
        result = phase.run(context) if phase.parallel else on_main(lambda: phase.run(context))
    finally:
        clock.stop()
    _merge(record, entry, result)
    entry.checksums = on_main(lambda: _checksums(folder / phase.name))
    entry.status = Status.completed
    on_main(lambda: write_record(folder, record))


def _write_if_main(folder: Path, record: RunRecord) -> None:
    if is_main():
        write_record(folder, record)


def _check_together(message: str) -> None:
    """A failure of one process alone ends all of them: the others wait for it, and would wait in vain."""
    if not meet():
        print(f"process {rank()} of {world_size()} ends: {message}", file=sys.__stderr__, flush=True)
        raise SystemExit(1)


class _Clock:
    """Keeps the seconds and the most memory of all attempts in a phase's entry; of a killed attempt, those up to its
    last checkpoint."""

    def __init__(self, entry: PhaseRecord, device: torch.device, measures_memory: bool) -> None:
        self.entry = entry
        self.device = device
        self.measures_memory = measures_memory
        self.last = time.monotonic()

    def stop(self) -> None:
        """Add the time since the last call, and look at the memory."""
        now = time.monotonic()
        self.entry.seconds += now - self.last
        self.last = now
        peak = devices.peak_memory(self.device) if self.measures_memory else None
        known = self.entry.peak_memory_bytes
        self.entry.peak_memory_bytes = known if peak is None else max(peak, known or 0)

    def write(self, folder: Path, record: RunRecord) -> None:
        """Write the record with the seconds so far."""
        self.stop()
        write_record(folder, record)


def _merge(record: RunRecord, entry: PhaseRecord, result: PhaseResult) -> None:
    for name in COPIED:
        setattr(entry, name, getattr(result, name))
    for name in MERGED:
        if getattr(result, name):
            setattr(record, name, getattr(result, name))
    if result.source:
        record.provenance["source"] = result.source


def _begin(experiment: ExperimentConfig, command: str, earlier: RunRecord | None) -> RunRecord:
    record = earlier or RunRecord(
        task=experiment.task.name,
        model=experiment.model.name,
        method=experiment.method.name,
        config_id=config_id(experiment),
        seed=experiment.seed,
        status=Status.running,
        config=experiment_identity(experiment),
        command=command,
        started=now(),
        headline=experiment.task.metrics[0],
        metrics={name: lookup(name).higher_is_better for name in experiment.task.metrics},
    )
    record.provenance["method"] = described(experiment.method)
    record.provenance |= _own_metrics(experiment)
    record.status, record.error, record.finished = Status.running, None, None
    record.locations = {"data.dir": experiment.data.dir, "device": experiment.device}
    record.locations |= {f"data.{split}": place for split, place in experiment.data.tables.items()}
    return record


def _own_metrics(experiment: ExperimentConfig) -> dict[str, Any]:
    """What a record says of metrics of the user's own, for readers who do not have them."""
    names = own_metrics(experiment.task.metrics)
    said = {
        name: {
            "title": METRICS[name].title or name,
            "published_scale": METRICS[name].published_scale,
            "files": metric_digests[name],
        }
        for name in names
    }
    return {"metrics": said} if said else {}


def _clear(folder: Path) -> None:
    """Nothing of an earlier attempt, least of all a checkpoint, may enter a run that starts afresh."""
    try:
        clear(folder, RUN)
    except OSError as error:
        raise UserError(
            f"cannot clear {folder}: {error.strerror or error}", "choose another folder with results=DIR"
        ) from error


def _stop(record: RunRecord, status: Status) -> None:
    record.status = status
    for entry in record.phases:
        if entry.status is Status.running:
            entry.status = status


def _checksums(folder: Path) -> dict[str, int]:
    """Of what a phase leaves for later phases and for readers; its export is not read again."""
    return crc32_of(folder, (path.name for path in folder.iterdir() if path.is_file()))


def _problem(folder: Path, entry: PhaseRecord) -> str:
    """What is wrong with the files of a phase that is recorded as complete; empty where nothing is."""
    if entry.artefact is None or not (folder / entry.artefact).exists():
        return f"{folder / (entry.artefact or entry.name)} is gone"
    names = damaged(folder / entry.name, entry.checksums)
    return f"{', '.join(str(folder / entry.name / name) for name in names)} is damaged" if names else ""


def _describe_data(context: PhaseContext) -> dict[str, Any]:
    data, splits = context.data, context.splits
    return {
        "source": data.source,
        "fingerprint": data.fingerprint,
        "files": file_fingerprint(context.experiment.task, context.experiment.data),
        "splits": {name: len(rows) for name, rows in {"train": splits.train, **splits.held_out}.items()},
        "subsets": {name: list(rows) for name, rows in data.subsets.items()},
        "truncated": splits.truncated,
        "limit": context.experiment.data.limit,
        "notes": [*data.notes, *splits.notes],
        **splits.details,
    }


def _describe(error: Exception) -> dict[str, str]:
    what, mend = f"{type(error).__name__}: {error}", ""
    if isinstance(error, UserError):
        what, mend = error.what, error.mend
    elif isinstance(error, OSError) and error.errno in NO_ROOM:
        what = f"cannot write {error.filename or 'the results'}: {error.strerror}"
        mend = "free some space or choose another folder with results=DIR; the same command goes on from here"
    elif is_lost(error):
        what = f"another process of the run is gone: {what.splitlines()[0]}"
        mend = "its own message says why; the same command goes on from the last checkpoint"
    elif is_out_of_memory(error):
        mend = "halve the memory of a step: train.accumulation=2, or train.evaluation_batch_size=16"
    mistake = isinstance(error, UserError) and not isinstance(error, DivergenceError)
    return {
        "type": "UserError" if mistake else type(error).__name__,
        "message": what,
        "mend": mend,
        "traceback": traceback.format_exc(),
    }
