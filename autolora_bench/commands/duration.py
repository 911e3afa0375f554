"""How long runs that are still to be made will take: their optimizer steps, and a rate measured or given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from autolora_bench.config.allocators import TRAINED, AllocatorConfig
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.method import AutoLoraConfig
from autolora_bench.config.rates import LearnedRatesConfig
from autolora_bench.config.steps import search_steps, training_steps
from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.provenance import provenance
from autolora_bench.record import RunRecord, Status, find_records, read_record

SEARCH = "search"
TRAINING = ("finetune", "retrain")
MACHINE = ("processor", "microarchitecture", "cores")
"""What of a record's provenance must be as here: times of two machines are never compared."""


@dataclass(frozen=True)
class Measured:
    """What a completed run on this machine took."""

    search: float | None
    """Seconds for each example of the search, evaluation and loading included."""
    whole_search: float
    """Seconds of the search: of one whose examples no setting tells, as a look at a few batches."""
    training: float
    """Seconds for each example of the training that makes the final weights."""
    rest: float
    """Seconds of all other phases."""


@dataclass(frozen=True)
class Work:
    """What a run has to do."""

    search: int
    training: int
    """Training examples of each phase, again in every epoch."""
    steps: int
    """Optimizer steps of both."""


def duration_lines(
    pending: Sequence[PlannedRun], rows: Mapping[Path, int | None], rate: float | None
) -> list[str]:
    """How long the runs will take, in words; empty where there are none.

    Args:
        pending: the runs that are to be made.
        rows: training examples by the run's folder; None where they are not known.
        rate: optimizer steps a second, if it is given; otherwise records of the same task, model and method that were
            made on this machine tell.
    """
    works = {entry.folder: work(entry.experiment, rows.get(entry.folder)) for entry in pending}
    known = [(entry, found) for entry in pending if (found := works[entry.folder]) is not None]
    lines = []
    steps = sum(found.steps for _, found in known)
    if rate is not None and known:
        lines.append(
            f"time: about {in_words(steps / rate)} for {len(known)} runs: "
            f"{steps:,} optimizer steps at {rate:g} a second"
        )
    elif known:
        measured = _measured([entry for entry, _ in known])
        timed = [(found, measured[_cell(e)]) for e, found in known if _cell(e) in measured]
        if timed:
            seconds = sum(_seconds(found, one) for found, one in timed)
            lines.append(
                f"time: about {in_words(seconds)} for {len(timed)} runs: "
                f"{sum(found.steps for found, _ in timed):,} optimizer steps, as long as those of completed runs "
                "of the same task, model and method on this machine"
            )
        left = len(known) - len(timed)
        if left:
            more = sum(found.steps for e, found in known if _cell(e) not in measured)
            lines.append(
                f"time: not known for {left} runs of {more:,} optimizer steps: none like them was completed here; "
                "rate=STEPS_PER_SECOND tells"
            )
    unknown = len(pending) - len(known)
    if unknown:
        lines.append(f"time: not known for {unknown} runs: only their data tell how many steps they take")
    return lines


def work(experiment: ExperimentConfig, rows: int | None) -> Work | None:
    """Steps and examples of a run on `rows` training examples; None where those are not known."""
    if rows is None:
        return None
    method, train = experiment.method, experiment.train
    training = training_steps(
        method.final_training(train, rows) if isinstance(method, AllocatorConfig) else train, rows
    )
    if isinstance(method, AutoLoraConfig):
        search = search_steps(method.search, rows)
    elif isinstance(method, LearnedRatesConfig):
        search = search_steps(method.rates, rows)
    elif isinstance(method, TRAINED):
        search = training_steps(method.search_training(train, rows), rows)
    else:
        return Work(0, training.examples, training.steps)
    return Work(search.examples, training.examples, search.steps + training.steps)


def read_rate(word: str | None) -> float | None:
    """Optimizer steps a second, of `rate=`. Raises UserError for what is no number above 0."""
    if word is None:
        return None
    try:
        rate = float(word)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise UserError(f"rate={word} is no rate", "say optimizer steps a second, as in rate=12.5")
    return rate


def in_words(seconds: float) -> str:
    """`40 s`, `25 min`, `3 h 20 min` or `2 d 5 h`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def _cell(entry: PlannedRun) -> tuple[str, str, str]:
    return entry.identity[:3]


def _measured(entries: Sequence[PlannedRun]) -> dict[tuple[str, str, str], Measured]:
    """Means over the completed records of the same task, model and method in the runs' results folders."""
    wanted = {_cell(entry) for entry in entries}
    here = {name: provenance()[name] for name in MACHINE}
    found: dict[tuple[str, str, str], list[Measured]] = {}
    for root in sorted({entry.experiment.results for entry in entries}):
        for path in find_records(Path(root).expanduser()):
            try:
                record = read_record(path)
            except UserError:
                continue
            one = _measure(record) if record.identity[:3] in wanted else None
            if one is not None and {name: record.provenance.get(name) for name in MACHINE} == here:
                found.setdefault(record.identity[:3], []).append(one)
    return {cell: _mean(several) for cell, several in found.items()}


def _measure(record: RunRecord) -> Measured | None:
    phases = {phase.name: phase for phase in record.phases}
    last = next((phases[name] for name in TRAINING if name in phases), None)
    if record.status is not Status.completed or last is None or not last.examples:
        return None
    search = phases.get(SEARCH)
    each = search.seconds / search.examples if search is not None and search.examples else None
    rest = sum(phase.seconds for phase in record.phases if phase.name not in (SEARCH, *TRAINING))
    whole = search.seconds if search is not None else 0.0
    return Measured(each, whole, last.seconds / last.examples, rest)


def _mean(several: Sequence[Measured]) -> Measured:
    searches = [one.search for one in several if one.search is not None]
    return Measured(
        mean(searches) if searches else None,
        mean(one.whole_search for one in several),
        mean(one.training for one in several),
        mean(one.rest for one in several),
    )


def _seconds(work: Work, measured: Measured) -> float:
    told = work.search and measured.search is not None
    search = work.search * (measured.search or 0.0) if told else measured.whole_search
    return search + work.training * measured.training + measured.rest
