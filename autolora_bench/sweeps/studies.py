"""Sweeps whose runs are chosen as they go: one Optuna study for every combination of what is not tuned.

Every study has the same number of trials and the same seed. They run one after the other, and what each found is told.
There is no store beside the records: a study that is started again asks for the same trials in the same order, and
those that are completed answer with their scores.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, ListConfig

from autolora_bench.config.choices import choices
from autolora_bench.config.compose import compose_config, composer, explain, search_path, to_experiment
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.identity import recorded_value
from autolora_bench.config.support import UnsupportedError
from autolora_bench.errors import UserError
from autolora_bench.metrics.kinds import check_metrics
from autolora_bench.metrics.registry import Metric, lookup
from autolora_bench.paths import RECORD
from autolora_bench.plan import PlannedRun, State
from autolora_bench.processes import world_size
from autolora_bench.push import refuse_push
from autolora_bench.record import RunRecord, read_record
from autolora_bench.request import Request, name_of

SWEEPER = "optuna"
SAMPLER, GRID = "hydra/sweeper/sampler", "grid"


@dataclass(frozen=True)
class Study:
    """One search for the best values of `tuned`."""

    request: Request
    title: str
    tuned: Mapping[str, tuple[float, float]]
    """Settings that are tuned, such as method.learning_rate, and from where to where."""
    trials: int
    direction: Any = None
    """hydra.sweeper.direction where a word or a suite's file states it; the metric alone decides it elsewhere."""

    @property
    def metric(self) -> Metric:
        """What is tuned: the task's headline."""
        return lookup(self.example.task.metrics[0])

    @property
    def words(self) -> list[str]:
        """Hydra's command line: the request, and the direction in which the metric gets better."""
        return [*self.request.flags, *self.request.overrides, f"hydra.sweeper.direction={self._better}"]

    def check(self) -> None:
        """Raises UserError where the task has no such metric, a stated direction contradicts the metric, or its runs
        are to be pushed."""
        refuse_push(self.example.push, "a study")
        check_metrics(self.example.task)
        if self.direction is not None and self.direction not in (self._better, [self._better]):
            raise UserError(
                f"hydra.sweeper.direction={self.direction} is not the way in which {self.metric.name} gets better",
                f"leave hydra.sweeper.direction out, or say {self._better}",
            )

    def found(self) -> list[PlannedRun]:
        """Runs with its settings and values between its bounds that have a record, in the order of their folders."""
        candidates = self._candidates()
        with composer():
            return [entry for entry in map(self._planned, candidates) if entry is not None]

    @property
    def is_completed(self) -> bool:
        """Whether it has as many completed runs as trials; where only whole numbers are tuned it may need fewer."""
        return sum(entry.state() is State.completed for entry in self.found()) >= self.trials

    def refusal(self) -> UnsupportedError | None:
        """Why there is nothing to tune: its method does not work on the task or the model."""
        try:
            self.example  # noqa: B018
        except UnsupportedError as error:
            return error
        return None

    @property
    def _better(self) -> str:
        """The metric's way as Optuna calls it."""
        return "maximize" if self.metric.higher_is_better else "minimize"

    @cached_property
    def example(self) -> ExperimentConfig:
        """What its runs have in common; of what is tuned the first corner of the bounds that can be run.

        Raises UserError where none can be, of the lowest; UnsupportedError, which bounds do not change, at once."""
        refused = []
        with composer():
            for corner in self._corners():
                try:
                    return to_experiment(self._compose(_said(corner.items())))
                except UnsupportedError:
                    raise
                except UserError as error:
                    refused.append(error)
        raise refused[0]

    def _corners(self) -> Iterator[dict[str, Any]]:
        """All at their lowest, all at their highest, then each alone at its highest: of many settings all corners
        would take minutes."""
        lowest, highest = ({name: bounds[end] for name, bounds in self.tuned.items()} for end in (0, 1))
        yield lowest
        yield highest
        for name in self.tuned:
            yield {**lowest, name: highest[name]}

    def _candidates(self) -> list[tuple[Any, dict[str, Any]]]:
        example = PlannedRun(self.example, ())
        found = []
        cells = f"{example.experiment.method.name}-*/{example.folder.name}/{RECORD}"
        for path in sorted(example.folder.parent.parent.glob(cells)):
            try:
                record = read_record(path)
            except UserError:
                continue
            if record.seed == example.experiment.seed:
                found.append((path.parent, record.config))
        return found

    def _planned(self, candidate: tuple[Any, dict[str, Any]]) -> PlannedRun | None:
        """The run of a record, if the study's settings with the record's values of what is tuned lead to it."""
        folder, config = candidate
        try:
            found = {name: recorded_value(config, self.example, name) for name in self.tuned}
            if not all(low <= found[name] <= high for name, (low, high) in self.tuned.items()):
                return None
        except (KeyError, TypeError):
            return None
        values = _said(found.items())
        planned = PlannedRun(to_experiment(self._compose(values)), values)
        return planned if planned.folder == folder else None

    def _compose(self, values: tuple[str, ...]) -> DictConfig:
        extra = [search_path(self.request.config_dir)] if self.request.config_dir else []
        fixed = [word for word in self.request.overrides if name_of(word) not in self.tuned]
        return compose_config([*extra, *fixed, *values])


def _said(values: Iterable[tuple[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{name}={value!r}" for name, value in values)


def studies(request: Request) -> list[Study]:
    """The studies that a request asks for; none where its runs are known beforehand.

    Raises:
        UserError: unknown names, the sweeper is not installed, or its sampler takes no intervals.
    """
    if not is_studied(request):
        return []
    if _chooses(request, SAMPLER, GRID):
        raise UserError(
            f"{SAMPLER}={GRID} tries values of a list, and a study chooses among all between two bounds",
            "choose tpe, gp, random, cmaes or nsgaii, or leave the study out: -m method.learning_rate=1e-4,1e-3",
        )
    said = _parse(request.overrides)
    plain = [o.input_line or "" for o in said if not o.is_sweep_override()]
    with composer():
        extra = [search_path(request.config_dir)] if request.config_dir else []
        sweeper = compose_config([*extra, *plain]).hydra.sweeper
    named = {name_of(o.get_key_element()) for o in said}
    own = [f"{name}={value}" for name, value in (sweeper.params or {}).items() if name not in named]
    swept = [o for o in [*_parse(own), *said] if o.is_sweep_override()]
    intervals = [o for o in swept if o.is_interval_sweep()]
    fixed = [o for o in _parse(own) if not o.is_sweep_override()]
    jobs = BasicSweeper.split_arguments([o for o in swept if not o.is_interval_sweep()], None)[0]
    tuned = {name_of(o.get_key_element()): _bounds(o) for o in intervals}
    if not tuned:
        return []
    words = [*plain, *(o.input_line or "" for o in [*fixed, *intervals])]
    return [
        Study(
            Request((*words, *job), True, request.config_dir),
            " ".join(job) or "study",
            tuned,
            int(sweeper.n_trials),
            _stated(sweeper.direction),
        )
        for job in jobs
    ]


def is_studied(request: Request) -> bool:
    """Whether a request is for Optuna's sweeper, said in a word or in the file of a suite."""
    return _chooses(request, "hydra/sweeper", SWEEPER)


def _chooses(request: Request, group: str, name: str) -> bool:
    """Whether a word chooses it, or the file of a suite where no word chooses another."""
    if group in request.said:
        return request.said[group] == name
    suite = choices("suite", request.folders).get(request.said.get("suite", ""))
    return suite is not None and f"/{group}: {name}" in suite.read_text(encoding="utf-8")


def _bounds(override: Override) -> tuple[float, float]:
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    assert interval.start is not None
    assert interval.end is not None
    return interval.start, interval.end


def _stated(direction: Any) -> Any:
    """A direction as words and files write it; None for the sweeper's default, which is a member of its Enum."""
    if isinstance(direction, Enum):
        return None
    return list(direction) if isinstance(direction, ListConfig) else direction


def _parse(words: Any) -> list[Override]:
    try:
        return list(OverridesParser.create().parse_overrides(list(words)))
    except Exception as error:
        raise explain(error) from error


def run_studies(
    studies: Sequence[Study],
    sweep: Callable[[Study], tuple[bool, int]],
    check: Callable[[Study], None],
    headline: Callable[[RunRecord | None], float | None],
) -> int:
    """Run every study; exit status 0 when all of their trials are completed.

    A study whose method does not work on its task or model is left out, unless there is no other.

    Args:
        studies: at least one.
        sweep: runs one through Hydra; whether all its trials were asked for, and how many of them were refused.
        check: raises UserError where a study cannot be run on this machine.
        headline: what is tuned, of a record.

    Raises:
        UserError: there are several processes, or no study can be run; what `Study.check` or `check` raises.
    """
    if world_size() > 1:
        raise UserError("Optuna's sweeper runs in one process", "start it without torchrun")
    able = _able(studies)
    for study in able:
        check(study)
    status = 0
    for number, study in enumerate(able, 1):
        what = f"{study.trials} trials of {', '.join(study.tuned)}"
        print(f"study {number} of {len(able)}: {study.title}, {what}", file=sys.stderr, flush=True)
        ended, refused = sweep(study)
        if not _tell(study, headline, refused) or not ended:
            status = 1
    return status


def _able(studies: Sequence[Study]) -> list[Study]:
    """Those whose method works on their task and model; the others are told of. What cannot be tuned is refused."""
    refusals = [(study, study.refusal()) for study in studies]
    able = [study for study, refusal in refusals if refusal is None]
    refused = [refusal for _, refusal in refusals if refusal is not None]
    if refused and not able:
        raise refused[0]
    for refusal in refused:
        print(f"left out: {refusal.what}", file=sys.stderr)
    for study in able:
        study.check()
    return able


def _tell(study: Study, headline: Callable[[RunRecord | None], float | None], refused: int) -> bool:
    """Print the best trial and the tally; whether all trials are completed, and one has a score."""
    found = study.found()
    states = Counter(entry.state() for entry in found)
    tally = ", ".join(f"{states[state]} {state.value}" for state in State if states[state])
    scored = [(headline(entry.record()), entry) for entry in found]
    finite = [(score, entry) for score, entry in scored if score is not None and not math.isnan(score)]
    if finite:
        score, best = max(finite, key=lambda row: study.metric.merit(row[0]))
        print(f"  best {study.metric.name} {score:.4f} at {' '.join(best.overrides)}  ({tally})")
        print(f"  {best.folder}", flush=True)
    for entry in found:
        if entry.state() is not State.completed:
            print(f"  {entry.state().value}: {' '.join(entry.overrides)}  {entry.folder}", file=sys.stderr)
    whole = all(isinstance(end, int) for bounds in study.tuned.values() for end in bounds)
    # Several trials may have the same whole numbers, and one run.
    asked = len(found) if whole and found else study.trials - refused
    left = asked - states[State.completed]
    if refused:
        print(f"  {refused} of {study.trials} trials were refused", file=sys.stderr)
    if left > 0:
        print(f"  {left} of {asked} trials are not completed", file=sys.stderr)
    if len(found) > study.trials:
        more = f"  {len(found)} runs with these settings are there, more than the {study.trials} trials of the study"
        print(f"{more}: others are among them, perhaps the best", file=sys.stderr)
    if not finite and states[State.completed]:
        print(f"  no trial has a score: {study.metric.name} is not defined ({tally})", file=sys.stderr)
    return bool(finite) and left <= 0 and not refused and not states[State.failed]
