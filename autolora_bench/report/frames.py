"""Records as three pandas frames, from which every table is made: runs, their scores, what they cost."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from autolora_bench.record import Evaluation, PhaseRecord, RunRecord
from autolora_bench.report.rows import RowRuns, rows_of, settings
from autolora_bench.report.runs import Run, earlier_attempts, grouped, hardware, on_accelerator, processes
from autolora_bench.report.units import metric_of

SEARCHES = ("search", "rates")
"""Phases with optimizer steps whose weights are not the final ones: of ranks, of learning rates."""
MOMENTS = {"best": "best", "last": "last", "kept": "test"}
"""What an epoch is called -> where a record holds its scores; test splits are scored once, with the weights kept."""
UNTIMED = ("tokens", "flops")
"""Costs that are the same on every machine."""
RUN = (
    *("task", "model", "method", "title", "settings", "config_id", "seed", "state"),
    *("parameters", "trainable", "row"),
)
SCORE = ("run", "task", "seed", "split", "metric", "epoch", "value")


class RunCost(NamedTuple):
    """Cost of one run; None where its record does not say."""

    wall: float | None
    """Seconds of all phases, loading and evaluation included."""
    search: float | None
    """Seconds of optimizer steps in the search; 0 for methods without one."""
    train: float | None
    """Seconds of optimizer steps that make the final weights."""
    total: float | None
    """Seconds of optimizer steps, search included."""
    cpu: float | None
    """Processor seconds of optimizer steps, search included; None of several processes, as only one's are recorded."""
    tokens: float | None
    """Through forward and backward passes, padding included."""
    flops: float | None
    peak_search: int | None
    """Bytes; None of several processes, as only one's are recorded. So are the other peaks."""
    peak_train: int | None
    peak: int | None
    """The largest of all phases."""


@dataclass(frozen=True)
class Frames:
    """What the records say. A run's number, the index of `runs` and `costs`, is its place in `made`."""

    made: tuple[Run, ...]
    rows: dict[str, list[RowRuns]]
    """Model -> the rows of its table, in order."""
    runs: pd.DataFrame
    """One line per run: task, model, method, title (of its row), settings (that tell rows apart), config_id, seed,
    state, parameters (of the method), trainable (with the head), row (its place in `rows`)."""
    scores: pd.DataFrame
    """One line per score of a completed run: run, task, seed, split, metric, epoch (best, last or kept), value in the
    unit that papers print, NaN where it is not defined."""
    costs: pd.DataFrame
    """One line per completed run: the fields of `RunCost`, NaN for None, hardware, and accelerator (whether that is
    one)."""


def frames_of(made: Sequence[Run], tuned: Mapping[str, Sequence[str]] | None = None) -> Frames:
    """The frames of some runs.

    Args:
        made: the runs.
        tuned: as `rows_of`.
    """
    by_model = grouped(made, lambda run: run.model)
    rows = {model: rows_of(members, tuned) for model, members in by_model.items()}
    place = {
        id(run): (number, row)
        for members in rows.values()
        for number, row in enumerate(members)
        for run in row.runs
    }
    runs = pd.DataFrame([_run(run, *place[id(run)]) for run in made], columns=list(RUN))
    scores = [
        line
        for number, run in enumerate(made)
        if run.completed
        for line in _scores(number, run, run.completed)
    ]
    done = {number: run.completed for number, run in enumerate(made) if run.completed}
    costs = pd.DataFrame(
        [run_cost(record) for record in done.values()], index=list(done), columns=RunCost._fields
    )
    return Frames(
        made=tuple(made),
        rows=rows,
        runs=runs,
        scores=pd.DataFrame(scores, columns=list(SCORE)).astype({"value": "float64"}),
        costs=costs.astype("float64").assign(
            hardware=[hardware(record) for record in done.values()],
            accelerator=[on_accelerator(record) for record in done.values()],
        ),
    )


def evaluation_of(run: Run, epoch: str, split: str) -> Evaluation | None:
    """What a completed run scored on a split; None without."""
    found: Evaluation | None = getattr(run.completed, MOMENTS[epoch]).get(split) if run.completed else None
    return found


def run_cost(record: RunRecord) -> RunCost:
    """Sum a record's phases."""
    search = [phase for phase in record.phases if phase.name in SEARCHES]
    train = [
        phase
        for phase in record.phases
        if phase.name not in SEARCHES and (phase.steps or phase.train_seconds is not None)
    ]
    seconds = [_total([phase.train_seconds for phase in phases]) for phases in (search, train)]
    searched, trained = seconds[0], seconds[1] if train else None
    steps = [*search, *train]
    alone = processes(record) == 1 and not any("processes" in one for one in earlier_attempts(record))
    return RunCost(
        wall=sum(phase.seconds for phase in record.phases) if record.phases else None,
        search=searched,
        train=trained,
        total=_total([searched, trained]),
        cpu=_total([phase.train_cpu_seconds for phase in steps]) if train and alone else None,
        tokens=_total([phase.tokens for phase in steps]),
        flops=_total([phase.flops for phase in steps]),
        peak_search=_peak(search) if alone else None,
        peak_train=_peak(train) if alone else None,
        peak=_peak(record.phases) if alone else None,
    )


def _run(run: Run, number: int, row: RowRuns) -> dict[str, object]:
    counts = run.completed.parameters if run.completed else None
    return {
        "task": run.task,
        "model": run.model,
        "method": row.method,
        "title": row.label,
        "settings": settings(row.variant),
        "config_id": run.config_id,
        "seed": run.seed,
        "state": run.state.value,
        "parameters": counts.method if counts else None,
        "trainable": counts.trainable if counts else None,
        "row": number,
    }


def _scores(number: int, run: Run, record: RunRecord) -> list[tuple[object, ...]]:
    return [
        (number, run.task, run.seed, split, metric, epoch, _in_unit(record, metric, value))
        for epoch, place in MOMENTS.items()
        for split, evaluation in getattr(record, place).items()
        for metric, value in evaluation.scores.items()
    ]


def _in_unit(record: RunRecord, metric: str, value: float | None) -> float | None:
    return None if value is None else value * metric_of(metric, [record]).published_scale


def _peak(phases: Sequence[PhaseRecord]) -> int | None:
    return max((p.peak_memory_bytes for p in phases if p.peak_memory_bytes is not None), default=None)


def _total(values: Sequence[float | None]) -> float | None:
    """The sum; None where any is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def cost_by_row(costs: pd.DataFrame, name: str, tasks: Collection[str]) -> dict[int, float]:
    """Row -> one of the costs of a run: mean over seeds, then over `tasks`; of memory the most.

    Left out is a row without a run of every task, or with a run whose record does not say it. Seconds are compared
    within one machine only: where the runs were made on several, no row has any. So is memory within accelerators
    or processors only, as a record has what was allocated of the one, and what the process held of the other.
    """
    own, largest = costs[costs["task"].isin(list(tasks))], name.startswith("peak")
    apart = "accelerator" if largest else "hardware"
    if name not in UNTIMED and own[apart].nunique() != 1:
        return {}
    groups = own.groupby(["row", "task"])[name]
    found = groups.max() if largest else groups.agg(lambda values: values.mean(skipna=False))
    wide = found.unstack().reindex(columns=sorted(tasks)).dropna()
    rows = wide.max(axis=1) if largest else wide.mean(axis=1)
    return {int(row): float(value) for row, value in rows.items()}
