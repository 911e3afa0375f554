"""Reports a run to experiment trackers: one named run of theirs for each of ours, through all its phases and attempts.

Their files lie in the run's folder, under `trackers/`. Values carry the phase's name before them (`search/loss`,
`finetune/validation_accuracy`); steps are the phase's own. What a resumed phase computes again stands there once:
TensorBoard takes the first back, the others keep it. A tracker that fails is told of and left out: no training ends for
it.
"""

import math
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autolora_bench.config.experiment import ExperimentConfig, experiment_identity
from autolora_bench.config.trackers import SWEEP, run_name
from autolora_bench.errors import UserError
from autolora_bench.processes import is_main
from autolora_bench.record import RunRecord, write_atomically
from autolora_bench.training.told import Told
from autolora_bench.untrusted import in_a_line

FOLDER = "trackers"
ID = "id.txt"
PROJECT = "autolora-bench"
LEFT_OUT = ("epoch", "total_flos", "train_loss")
"""Of what the Trainer logs: the step says as much, or the record does."""
MOST = 500
"""Letters of a setting that MLflow keeps in every version."""
LONGEST = 250
UNTAKEN = re.compile(r"[^\w/. -]|(?<!\w)/|/(?!\w)")
"""Letters of a name that MLflow takes, and what it does not take in one on some system."""


@dataclass(frozen=True)
class Cell:
    """What a tracker is told of a run."""

    name: str
    group: str | None
    """The sweep that it is part of."""
    identity: str
    """The same for every attempt of a run, another for a run that starts afresh."""
    folder: Path
    """For the tracker's files."""
    config: dict[str, Any]
    """The settings, by dotted names."""


class Tracker(Protocol):
    """One of the packages, with a run begun."""

    def begin_phase(self, phase: str, step: int) -> None:
        """A phase begins, or goes on after `step` steps."""

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Values of a step, by names that begin with the phase's."""

    def finish(self, scores: Mapping[str, float], completed: bool) -> None:
        """The run ends, with its final scores if it is completed."""


class TensorBoard:
    """An event file for each phase, whose steps after the checkpoint a resumed phase takes back."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.writers: dict[str, Any] = {}
        text = "\n".join(f"    {name}: {value}" for name, value in cell.config.items())
        self._open("run", 0)
        self.writers["run"].add_text("configuration", text)

    def _open(self, phase: str, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if phase in self.writers:
            self.writers[phase].close()
        folder = self.cell.folder / "tensorboard" / phase
        self.writers[phase] = SummaryWriter(str(folder), purge_step=step)

    def begin_phase(self, phase: str, step: int) -> None:
        """What an earlier attempt said of later steps is taken back."""
        self._open(phase, step + 1)

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """A scalar each."""
        for name, value in values.items():
            self.writers[phase].add_scalar(name, value, step)
        self.writers[phase].flush()

    def finish(self, scores: Mapping[str, float], completed: bool) -> None:
        """Final scores are scalars of step 0 of the run itself."""
        for name, value in scores.items():
            self.writers["run"].add_scalar(name, value, 0)
        for writer in self.writers.values():
            writer.close()


class WeightsAndBiases:
    """WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE hold as ever."""

    def __init__(self, cell: Cell) -> None:
        import wandb

        cell.folder.mkdir(parents=True, exist_ok=True)
        self.wandb = wandb
        self.told = Told(cell.folder / "told-wandb.json")
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=cell.name,
            group=cell.group,
            id=cell.identity,
            resume="allow",
            dir=str(cell.folder),
            config=cell.config,
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off", symlink=False),
        )
        for path in cell.folder.rglob("*"):
            if path.is_symlink():  # to a log in the user's cache; a run's folder holds no links
                path.unlink()

    def begin_phase(self, phase: str, step: int) -> None:
        """The phase's own steps are its curves' axis."""
        self.told.begin_phase()
        self.wandb.define_metric(f"{phase}/step", hidden=True)
        self.wandb.define_metric(f"{phase}/*", step_metric=f"{phase}/step")

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """One row of the run's history."""
        if untold := self.told.untold(step, values):
            self.run.log({f"{phase}/step": step, **untold})
            self.told.note(step, untold)

    def finish(self, scores: Mapping[str, float], completed: bool) -> None:
        """Final scores are the run's summary."""
        self.run.summary.update(dict(scores))
        self.run.finish(exit_code=0 if completed else 1)


class MLflow:
    """MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME hold as ever; without the first, files in the run's folder."""

    def __init__(self, cell: Cell) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        place = os.environ.get("MLFLOW_TRACKING_URI") or (cell.folder / "mlflow").absolute().as_uri()
        self.client: Any = MlflowClient(tracking_uri=place)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self.client.create_experiment(name)
        tags = {"autolora_bench.id": cell.identity, "group": cell.group or ""}
        same = f"tags.`autolora_bench.id` = '{cell.identity}'"
        earlier = self.client.search_runs([experiment], filter_string=same)
        self.told = Told(cell.folder / "told-mlflow.json", afresh=not earlier)
        self.names: dict[str, str] = {}
        run = earlier[0] if earlier else self.client.create_run(experiment, run_name=cell.name, tags=tags)
        self.id = run.info.run_id
        try:
            if earlier:
                self.client.update_run(self.id, status="RUNNING")
            self._state(cell.config, run.data.params)
        except Exception:
            with suppress(Exception):
                self.client.set_terminated(self.id, "FAILED")
            raise

    def _state(self, config: Mapping[str, Any], stated: Mapping[str, str]) -> None:
        """The settings that an earlier attempt did not come to state."""
        names: dict[str, str] = {}
        for setting, value in config.items():
            name = mlflow_name(setting, names)
            if name not in stated:
                self.client.log_param(self.id, name, str(value)[:MOST])

    def _tell(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.id, mlflow_name(name, self.names), value, step=step)

    def begin_phase(self, phase: str, step: int) -> None:
        """What an earlier attempt said stays."""
        self.told.begin_phase()

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """A metric each."""
        if untold := self.told.untold(step, values):
            self._tell(step, untold)
            self.told.note(step, untold)

    def finish(self, scores: Mapping[str, float], completed: bool) -> None:
        """Final scores are metrics of step 0."""
        self._tell(0, scores)
        self.client.set_terminated(self.id, "FINISHED" if completed else "FAILED")


def mlflow_name(name: str, names: dict[str, str]) -> str:
    """A setting's or value's name as MLflow takes it; `names` keeps them, so that no two become one."""
    if name not in names:
        short = UNTAKEN.sub("_", name)[: LONGEST - 5]
        tries = (short if number == 1 else f"{short}_{number}" for number in count(1))
        names[name] = next(one for one in tries if one not in names.values())
    return names[name]


class Trackio:
    """TRACKIO_DIR holds as ever; trackio reads it once in a process, so that its files are not in the run's folder."""

    def __init__(self, cell: Cell) -> None:
        import trackio

        self.trackio = trackio
        self.told = Told(cell.folder / "told-trackio.json")
        trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=f"{cell.name} {cell.identity}",
            group=cell.group,
            config=cell.config,
            resume="allow",
            embed=False,
        )

    def begin_phase(self, phase: str, step: int) -> None:
        """What an earlier attempt said stays."""
        self.told.begin_phase()

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """One row of the run's history; the phases follow each other on one axis of trackio's own."""
        if untold := self.told.untold(step, values):
            self.trackio.log({f"{phase}/step": step, **untold})
            self.told.note(step, untold)

    def finish(self, scores: Mapping[str, float], completed: bool) -> None:
        """Final scores are the last row."""
        if scores:
            self.trackio.log(dict(scores))
        self.trackio.finish()


BEGIN: dict[str, Callable[[Cell], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}


class Trackers:
    """Those of one run; none in a process that is not the main one."""

    def __init__(self, begun: dict[str, Tracker] | None = None) -> None:
        self.begun = dict(begun or {})

    def callback(self, phase: str) -> TrainerCallback:
        """What tells them of a training phase."""
        return _Reporting(self, phase)

    def tell(self, call: Callable[[Tracker], None]) -> None:
        """Tell all; one that fails is told no more."""
        for name, tracker in list(self.begun.items()):
            try:
                call(tracker)
            except Exception as error:
                del self.begun[name]
                print(f"  {name} is left out from here on: {_said(error)}", file=sys.stderr)


class _Reporting(TrainerCallback):
    def __init__(self, trackers: Trackers, phase: str) -> None:
        self.trackers, self.phase = trackers, phase

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Say where the phase begins or goes on."""
        self.trackers.tell(lambda tracker: tracker.begin_phase(self.phase, state.global_step))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Pass on what the Trainer logs: losses, rates, scores, mean ranks."""
        values = {
            f"{self.phase}/{name.removeprefix('eval_')}": float(value)
            for name, value in (logs or {}).items()
            if isinstance(value, int | float)
            and math.isfinite(value)
            and name not in LEFT_OUT
            and not name.endswith(("_runtime", "_per_second"))
        }
        if values:
            self.trackers.tell(lambda tracker: tracker.log(self.phase, state.global_step, values))


@contextmanager
def tracked(experiment: ExperimentConfig, folder: Path, record: RunRecord, fresh: bool) -> Iterator[Trackers]:
    """Trackers of a run for as long as it runs; at its end they are told the final scores that the record then has.

    Args:
        experiment: the run.
        folder: its folder.
        record: its record.
        fresh: whether the run starts from nothing; otherwise the trackers' runs of the attempt before go on.

    Raises:
        UserError: a tracker cannot begin.
    """
    names = experiment.train.trackers if is_main() else []
    trackers = Trackers()
    completed = False
    try:
        if names:
            cell = _cell(experiment, folder / FOLDER, fresh)
            trackers.begun.update((name, _begin(name, cell)) for name in names)
        yield trackers
        completed = True
    finally:
        scores = final_scores(record) if completed else {}
        trackers.tell(lambda tracker: tracker.finish(scores, completed))


def final_scores(record: RunRecord) -> dict[str, float]:
    """Scores of a completed run, its trained weights and its mean rank, by what a tracker calls them."""
    found = {}
    for kind, evaluations in (("best", record.best), ("last", record.last), ("test", record.test)):
        for split, evaluation in evaluations.items():
            for name, value in evaluation.scores.items():
                if value is not None and math.isfinite(value):
                    found[f"{kind}/{split}/{name}"] = value
    if record.parameters is not None:
        found["parameters/trainable"] = float(record.parameters.trainable)
    if record.ranks:
        found["ranks/mean"] = sum(layer.rank for layer in record.ranks) / len(record.ranks)
    return found


def _begin(name: str, cell: Cell) -> Tracker:
    try:
        return BEGIN[name](cell)
    except Exception as error:
        raise UserError(
            f"train.trackers: {name} cannot begin: {_said(error)}",
            "log in to it, or let it write files (WANDB_MODE=offline, say), or leave it out",
        ) from error


def _said(error: Exception) -> str:
    """A library's message, of however many lines, in one."""
    return in_a_line(f"{type(error).__name__}: {error}")


def _cell(experiment: ExperimentConfig, folder: Path, fresh: bool) -> Cell:
    path = folder / ID
    try:
        identity = "" if fresh else path.read_text(encoding="utf-8").strip()
    except OSError:
        identity = ""
    if not identity:
        identity = uuid.uuid4().hex[:12]
        write_atomically(path, identity + "\n")
    group = os.environ.get(SWEEP) or None
    config = dict(_flat(experiment_identity(experiment)), seed=experiment.seed)
    return Cell(run_name(experiment), group, identity, folder / identity, config)


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and plain values; a list stays one value."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _flat(value, f"{prefix}.{name}".lstrip("."))
    elif prefix:
        yield prefix, node if isinstance(node, int | float | str) or node is None else str(node)
