"""Comparisons whose methods are all tuned alike before they are compared (suite=fair): their runs, and what they chose.

Each method on each task and model is a contender. Its learning rate is chosen from one grid by its score on a part of
the training data that tuning runs do not train on (data.held_out), after the last epoch; while the best rate is at an
end of the grid, the grid is extended there. Then its seeds are run with that rate on all training data, and the task's
own evaluation splits are looked at for the first time. Tuning runs and final runs are ordinary runs with ordinary
records, and all that is decided here is read from those: the same command goes on from wherever it was stopped.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from autolora_bench.config.experiment import ExperimentConfig, TuningConfig
from autolora_bench.config.suite import read_suite
from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun, State
from autolora_bench.record import RunRecord, Status
from autolora_bench.request import Request, name_of
from autolora_bench.sweeps.expansion import Plan, Shared, plan, plan_jobs
from autolora_bench.sweeps.tuned_settings import (
    RATE,
    check_names,
    check_tasks,
    follow,
    further,
    tuning_of,
)

Job = tuple[str, ...]
"""The words of one run."""


def is_fair(request: Request) -> bool:
    """Whether a request is for a suite that tunes first. With a learning rate said it is for runs like any others."""
    return RATE not in request.said and read_suite(request.said.get("suite"), request.folders).tuned


def planned_runs(request: Request) -> Plan:
    """Every run that is known of a request, whether it tunes first or not; `Plan.later` says what follows from them.

    Raises:
        UserError: as `expansion.plan`, or settings of the tuning that make no sense.
    """
    shared: Shared = []
    if not is_fair(request):
        return plan(request, shared)
    first = untuned_runs(request, shared)
    found = contenders(request, first, shared)
    runs = [run for contender in found for run in contender.known()]
    later = [one.later() for one in found if one.choice is None and not one.hopeless]
    given_up = [run for contender in found for run in contender.given_up()]
    return Plan(runs, first.left_out, later, given_up)


def untuned_runs(request: Request, shared: Shared) -> Plan:
    """What a suite that tunes first sweeps over, the rates not tuned yet.

    Raises UserError as `expansion.plan`, and for a planted task."""
    check_tasks(request)
    return plan(request, shared)


@dataclass(frozen=True)
class Candidate:
    """One choice of the tuned settings and its tuning runs."""

    rate: float
    words: tuple[str, ...]
    all_runs: tuple[PlannedRun, ...]
    """One for each tuning seed."""

    @cached_property
    def _records(self) -> list[RunRecord | None]:
        """Of all its runs, as they are when this is first asked."""
        return [_record(run) for run in self.all_runs]

    @property
    def records(self) -> list[RunRecord]:
        """Those that there are."""
        return [record for record in self._records if record is not None]

    @property
    def runs(self) -> list[PlannedRun]:
        """Its runs; where one of them diverged none that has not been begun, as no other is waited for."""
        pairs = zip(self.all_runs, self._records, strict=True)
        return [run for run, record in pairs if record is not None or not self.diverged]

    @property
    def diverged(self) -> bool:
        """Whether one of its runs did: it is out of the choice, whatever the others would score."""
        return any(record.diverged for record in self.records)

    @property
    def undefined(self) -> bool:
        """Whether all its runs are completed, and the metric is not defined for one of them."""
        return not self.diverged and self.merit == -math.inf

    @property
    def merit(self) -> float | None:
        """Mean headline score on the held-out part after the last epoch, higher always better; minus infinity where a
        run diverged or has no score; None while a run is missing."""
        if self.diverged:
            return -math.inf
        scores = [_score(record) for record in self.records if record.status is Status.completed]
        if len(scores) < len(self.all_runs):
            return None
        merits = [score * (1 if _higher_is_better(self.records[0]) else -1) for score in scores]
        return -math.inf if any(math.isnan(merit) for merit in merits) else fmean(merits)

    @property
    def score(self) -> float | None:
        """As the metric has it; None where there is none."""
        merit = self.merit
        if merit is None or math.isinf(merit):
            return None
        return merit if _higher_is_better(self.records[0]) else -merit


@dataclass
class Contender:
    """One method on one task and one model."""

    request: Request
    words: tuple[str, ...]
    """The words of its runs without seed and tuned settings."""
    seeds: tuple[int, ...]
    example: ExperimentConfig
    """Its first final run with the method's own settings."""
    tuning: TuningConfig
    _planned: dict[Job, PlannedRun] = field(default_factory=dict)
    """What has been planned so far; the contenders of a suite share it."""
    _candidates: list[Candidate] = field(default_factory=list, init=False)

    @property
    def title(self) -> str:
        """Names of task, method and model."""
        e = self.example
        return f"{e.task.name} {e.method.name} on {e.model.name}"

    @property
    def candidates(self) -> list[Candidate]:
        """All choices that are tried, by rate: the grid, and what extends it by what is known when this is first asked.
        Their records are those that decided on the extension, whatever has been completed meanwhile."""
        if not self._candidates:
            for jobs in self.steps():
                self._plan(jobs)
        return self._candidates

    @property
    def choice(self) -> Candidate | None:
        """The best candidate; None while a tuning run is missing, or where none has a score."""
        best = _best(self.candidates)
        return best if best is not None and best.score is not None else None

    @property
    def hopeless(self) -> bool:
        """Whether all that may be tried was tried, and nothing has a score."""
        best = _best(self.candidates)
        return best is not None and best.score is None

    @property
    def at_edge(self) -> bool:
        """Whether the chosen rate is the lowest or highest that was tried."""
        choice = self.choice
        rates = [candidate.rate for candidate in self.candidates]
        return choice is not None and choice.rate in (min(rates), max(rates))

    def tuning_runs(self) -> list[PlannedRun]:
        """The runs of all candidates."""
        return [run for candidate in self.candidates for run in candidate.runs]

    def given_up(self) -> list[PlannedRun]:
        """Those among them that are not completed and are not waited for, as their rate diverged."""
        lost = [run for one in self.candidates if one.diverged for run in one.runs]
        return [run for run in lost if run.state() is not State.completed]

    def waited_for(self) -> list[PlannedRun]:
        """The others among them."""
        folders = {run.folder for run in self.given_up()}
        return [run for run in self.tuning_runs() if run.folder not in folders]

    def final_runs(self) -> list[PlannedRun]:
        """The runs that are compared, one for each seed; none while there is no choice."""
        return self._plan(self._final_jobs())

    def known(self) -> list[PlannedRun]:
        """Tuning runs and final runs."""
        return [*self.tuning_runs(), *self.final_runs()]

    def later(self) -> str:
        """What is not known yet."""
        return f"{self.title}: {len(self.seeds)} runs, once the tuning runs have chosen its rate"

    def fresh(self) -> "Contender":
        """The same, to be looked at anew after runs have ended."""
        return Contender(self.request, self.words, self.seeds, self.example, self.tuning, self._planned)

    def steps(self) -> Iterator[list[Job]]:
        """What is to be planned before the next step can be told: the grid, each that extends it, the final runs."""
        rates = list(self.tuning.rates)
        while True:
            choices = list(self._choices(rates))
            yield [job for _, _, jobs in choices for job in jobs]
            found = [Candidate(rate, words, tuple(self._plan(jobs))) for rate, words, jobs in choices]
            further = self._further(found, rates)
            if further is None:
                break
            rates = sorted([*rates, further])
        self._candidates = found
        yield self._final_jobs()

    def _final_jobs(self) -> list[Job]:
        choice = self.choice
        return [] if choice is None else [(*self.words, *choice.words, f"seed={seed}") for seed in self.seeds]

    def _choices(self, rates: Sequence[float]) -> Iterator[tuple[float, tuple[str, ...], list[Job]]]:
        """Each choice of the tuned settings: its rate, its words, and the jobs of its tuning runs."""
        held_out = f"data.held_out={self.tuning.held_out!r}"
        for rate, chosen in itertools.product(rates, list(further(self.tuning, self.example))):
            words = (f"{RATE}={rate!r}", *chosen)
            jobs = [(*self.words, *words, held_out, f"seed={seed}") for seed in self.tuning.seeds]
            yield rate, words, jobs

    def _further(self, candidates: Sequence[Candidate], rates: Sequence[float]) -> float | None:
        """The next rate beyond an end at which the best one is; None where there is none, or not known yet."""
        best = _best(candidates)
        if best is None:
            return None
        if best.score is None:  # lower may not diverge; where a metric is nowhere defined no rate helps
            return self._below(rates) if any(one.diverged for one in candidates) else None
        if best.rate == rates[-1]:
            return self._above(rates)
        return self._below(rates) if best.rate == rates[0] else None

    def _above(self, rates: Sequence[float]) -> float | None:
        if sum(rate > self.tuning.rates[-1] for rate in rates) >= self.tuning.extensions:
            return None
        return _rounded(_continued(rates))

    def _below(self, rates: Sequence[float]) -> float | None:
        if sum(rate < self.tuning.rates[0] for rate in rates) >= self.tuning.extensions:
            return None
        return _rounded(1 / _continued([1 / rate for rate in reversed(rates)]))

    def _plan(self, jobs: Sequence[Job]) -> list[PlannedRun]:
        _plan_missing(self.request, jobs, self._planned)
        return [self._planned[job] for job in jobs]


def contenders(request: Request, runs: Plan, shared: Shared | None = None) -> list[Contender]:
    """What a suite that tunes first compares, in the order of its sweep.

    Args:
        request: the suite.
        runs: its `expansion.plan`: one run for each contender and seed, whose rates are not tuned yet.
        shared: what composed that plan.

    Raises:
        UserError: as `tuned_settings.tuning_of` and `check_names`.
    """
    groups: dict[tuple[str, ...], list[PlannedRun]] = {}
    for run in runs:
        words = tuple(word for word in run.overrides if name_of(word) != "seed")
        groups.setdefault(words, []).append(run)
    found = []
    planned: dict[Job, PlannedRun] = {}
    for words, own_runs in groups.items():
        example, seeds = own_runs[0].experiment, tuple(run.experiment.seed for run in own_runs)
        tuning = tuning_of(request, words, example, seeds)
        own = [word for word in words if word not in request.own_folder]
        fixed = (*own, *follow(tuning, example))
        found.append(Contender(request, fixed, seeds, example, tuning, planned))
    if found:
        check_names(found[0].tuning, [contender.example for contender in found])
    _plan_together(request, found, planned, shared)
    return found


def _plan_together(
    request: Request, contenders: Sequence[Contender], planned: dict[Job, PlannedRun], shared: Shared | None
) -> None:
    """Plan what is known of all contenders, step by step: composed together, their jobs share most of their parts."""
    going = [contender.steps() for contender in contenders]
    while going:
        asked = [(steps, next(steps, None)) for steps in going]  # None: it is at its end
        _plan_missing(request, [job for _, jobs in asked for job in jobs or []], planned, shared)
        going = [steps for steps, jobs in asked if jobs is not None]


def _plan_missing(
    request: Request, jobs: Sequence[Job], planned: dict[Job, PlannedRun], shared: Shared | None = None
) -> None:
    """Add those jobs to `planned` that are not there yet."""
    missing = list(dict.fromkeys(job for job in jobs if job not in planned))
    if missing:
        planned.update(zip(missing, plan_jobs(request, missing, shared), strict=True))


def _best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The one with the highest merit, of equals the middle one; None while one has no merit yet."""
    merits = [candidate.merit for candidate in candidates]
    known = [merit for merit in merits if merit is not None]
    if len(known) < len(merits):
        return None
    equals = [one for one, merit in zip(candidates, merits, strict=True) if merit == max(known)]
    return equals[(len(equals) - 1) // 2]


def _continued(rates: Sequence[float]) -> float:
    """The next number of an ascending sequence whose ratios repeat every two steps, such as 1, 3, 10, 30, 100."""
    ratio = rates[-2] / rates[-3] if len(rates) > 2 else rates[-1] / rates[-2]
    return rates[-1] * ratio


def _rounded(rate: float) -> float:
    return float(f"{rate:.4g}")


def _record(run: PlannedRun) -> RunRecord | None:
    try:
        return run.record()
    except UserError:
        return None


def _score(record: RunRecord) -> float:
    return math.nan if record.last_headline is None else record.last_headline


def _higher_is_better(record: RunRecord) -> bool:
    return record.metrics.get(str(record.headline), True)
