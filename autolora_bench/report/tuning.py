"""What tuning runs chose and what they cost (suite=fair): each method's scores by learning rate, on held-out data.

Tuning runs are those with data.held_out: they are scored on training data that they did not train on, and never become
rows of a table of scores.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from autolora_bench.record import RunRecord
from autolora_bench.report import numerals
from autolora_bench.report.chance import CORRELATIONS
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.frames import run_cost
from autolora_bench.report.rows import Variant, label_of
from autolora_bench.report.runs import OTHER, Run, grouped, hardware, method_order
from autolora_bench.report.units import metric_of

RATE = "method.learning_rate"
SEARCH_RATE = "method.search.learning_rate"
NOT_OF_A_CELL = (
    RATE,
    "method.cell",
    "data.held_out",
    "task.evaluation",
    "task.test",
)
"""Settings in which a cell's tuning runs differ from each other and from its final runs; `method.cell` names the runs
that a control takes its ranks or rates from, which have the rate too."""


@dataclass(frozen=True)
class TunedCell:
    """The tuning of one method with one choice of its other settings, on one task and model."""

    task: str
    model: str
    method: str
    label: str
    """The method's title, with the settings that tell it from the method's other cells on this task and model."""
    trials: dict[float, float | None]
    """Rate, ascending -> mean headline score on the held-out part, in the published unit; None where it diverged or has
    no score. A rate some of whose runs have not ended, and of which none diverged, is not among them."""
    undefined: frozenset[float]
    """Of the rates without a score those whose runs were completed: the metric is not defined there."""
    higher_is_better: bool
    chosen: float | None
    """The rate of the final runs; None where there are none, or they are not of one rate that was tried."""
    tuning_runs: int
    tuning_seconds: float | None
    """Of optimizer steps, search included, of all tuning runs, processor time on a CPU; of a run that diverged, of its
    phases. None where a record does not say."""
    final_seconds: float | None
    """As `tuning_seconds`, of the runs that are compared."""
    unfinished: int
    """Tuning runs that have not ended, but for those of a rate of which one diverged."""
    family: str = OTHER
    """The method's, which decides its colour."""
    final_ids: frozenset[str] = frozenset()
    """config_id of the final runs; of tries that came to nothing only where there is nothing else."""
    rate_names: tuple[str, ...] = (RATE,)
    """The settings that follow the rate."""
    machines: frozenset[str] = frozenset()
    """The hardware of all its runs that have ended."""
    lost: int = 0
    """Runs, of tuning and final ones, that failed, were cut off or go on: no cost counts them."""
    final_rates: tuple[float, ...] = ()
    """Of the final runs, ascending."""
    unlike: bool = False
    """Whether the rates were not all tried on one share of the training data, with the same seeds."""
    tried: frozenset[float] = frozenset()
    """All rates of its tuning runs, ended or not."""
    terms: frozenset[tuple[float, int]] = frozenset()
    """Held-out share and seed of its tuning runs."""
    fresh: bool = True
    """Whether no final run has a seed by which the rate was chosen."""
    error: float | None = None
    """Standard error of one held-out score, in the published unit: of an accuracy or a correlation, at most; None for
    other metrics."""
    fraction: bool = True
    """Whether the unit of its scores is a hundredth."""

    def alike(self, other: "TunedCell") -> bool:
        """Whether both were tuned on the same terms: share, seeds, and rates of one grid, each extended for itself."""
        low, high = (end(end_of(self.tried), end_of(other.tried)) for end, end_of in ((max, min), (min, max)))
        own, its = ({rate for rate in cell.tried if low <= rate <= high} for cell in (self, other))
        return self.terms == other.terms and own == its and len(own) > 1

    @property
    def at_edge(self) -> bool:
        """Whether a lower or a higher rate might be better still."""
        return self.chosen is not None and self.chosen in (min(self.trials), max(self.trials))

    @property
    def is_best(self) -> bool:
        """Whether the final runs have the rate that is best of those whose tuning runs have ended."""
        own = self.merit(self.chosen)
        if own is None or math.isinf(own):
            return False
        best = max(merit for rate in self.trials if (merit := self.merit(rate)) is not None)
        return math.isclose(own, best)  # of equals the tuning has taken one

    def merit(self, rate: float | None) -> float | None:
        """The held-out score of a rate with higher always better, minus infinity where it has none; None where it was
        not tried."""
        if rate is None or rate not in self.trials:
            return None
        score = self.trials[rate]
        return -math.inf if score is None else score if self.higher_is_better else -score


def is_tuning(run: Run) -> bool:
    """Whether a run chose a setting, and is not compared."""
    return bool(run.setting("data", "held_out"))


def tuned_cells(runs: Sequence[Run]) -> list[TunedCell]:
    """What the tuning runs among `runs` say of the others, ordered by task, then as tables order methods."""
    found = []
    for members in grouped(runs, lambda run: (run.model, run.task, run.method)).values():
        names = _following(members)
        left = {*NOT_OF_A_CELL, SEARCH_RATE, *names}
        groups: dict[Variant, list[Run]] = {}
        for run in members:
            kept = tuple(sorted(one for one in run.settings.items() if one[0] not in left))
            groups.setdefault(kept, []).append(run)
        apart = {
            tuple(sorted((*rest, *held))): own
            for rest, group in groups.items()
            for held, own in by_search_rate(group).items()
        }
        tuned = {rest: own for rest, own in apart.items() if any(map(is_tuning, own))}
        common = set.intersection(*(set(rest) for rest in tuned)) if tuned else set()
        found += [
            _cell(
                own,
                [setting for setting in rest if setting not in common],
                tuple(name for name in _following(own) if name in (*names, SEARCH_RATE)),
            )
            for rest, own in tuned.items()
        ]
    tasks = list(dict.fromkeys(cell.task for cell in found))
    families = {run.method: run.family for run in runs}

    def key(cell: TunedCell) -> tuple[object, ...]:
        return cell.model, tasks.index(cell.task), method_order(cell.method, families[cell.method])

    return sorted(found, key=key)


def tuned_ids(cells: Sequence[TunedCell]) -> set[str]:
    """config_id of all final runs that have the rate that tuning found best."""
    return {config_id for cell in cells if cell.is_best for config_id in cell.final_ids}


def rates_of(cells: Sequence[TunedCell]) -> dict[str, tuple[str, ...]]:
    """config_id of final runs -> the settings that tuning chose, by which rows are not told apart."""
    return {config_id: cell.rate_names for cell in cells if cell.is_best for config_id in cell.final_ids}


def by_search_rate(runs: Sequence[Run]) -> dict[Variant, list[Run]]:
    """The setting of a search's own rate, nothing where it follows the method's -> those runs.

    Where it was held at one value, the run in which both have that value belongs to the cell of that value, and to the
    other too if that has further rates.
    """
    known = [(run, run.settings.get(RATE), run.settings.get(SEARCH_RATE)) for run in runs]
    held = sorted({own for _, rate, own in known if own not in (None, rate)})
    following = {rate for _, rate, own in known if own == rate}
    groups: dict[Variant, list[Run]] = {
        (): [
            run
            for run, rate, own in known
            if own is None or (own == rate and (own not in held or len(following) > 1))
        ]
    }
    for value in held:
        groups[((SEARCH_RATE, value),)] = [run for run, _, own in known if own == value]
    return groups


def _following(runs: Sequence[Run]) -> tuple[str, ...]:
    """The rate, and every setting that has its value in all tuning runs among `runs`: what is tied to it."""
    flat = [run.settings for run in runs if is_tuning(run)]
    names = sorted({name for one in flat for name in one})
    tied = [name for name in names if name != RATE and all(one.get(name) == one.get(RATE) for one in flat)]
    return (RATE, *tied)


def _cell(runs: Sequence[Run], own: Variant | list[tuple[str, str]], names: tuple[str, ...]) -> TunedCell:
    first, tuning = runs[0], [run for run in runs if is_tuning(run)]
    rates = grouped(tuning, _rate)
    ended = {rate: members for rate, members in sorted(rates.items()) if _is_decided(members)}
    trials = {rate: _mean(members) for rate, members in ended.items()}
    others = [run for run in runs if not is_tuning(run)]
    finals = [run for run in others if run.completed or run.planned] or others
    final_rates = sorted({_rate(run) for run in finals})
    terms = {
        rate: {(float(run.setting("data", "held_out")), run.seed) for run in own}
        for rate, own in rates.items()
    }
    tried = frozenset().union(*terms.values())
    known = frozenset().union(*(terms[rate] for rate in ended))
    whole = [rate for rate, own in ended.items() if not any(map(_diverged, own))]  # the others may lack seeds
    records = [run.record for run in runs if run.record]
    metric = metric_of(str(records[0].headline), records) if records else None
    return TunedCell(
        task=first.task,
        model=first.model,
        method=first.method,
        label=label_of(first.method_title or first.method, tuple(own)),
        trials=trials,
        undefined=frozenset(
            rate
            for rate, score in trials.items()
            if score is None and all(run.completed for run in ended[rate])
        ),
        higher_is_better=metric is None or metric.higher_is_better,
        chosen=final_rates[0] if len(final_rates) == 1 and final_rates[0] in trials else None,
        tuning_runs=len(tuning),
        tuning_seconds=_seconds(run.record for run in tuning if _has_ended(run)),
        final_seconds=_seconds(run.record for run in finals if _has_ended(run)),
        unfinished=sum(
            not _has_ended(run) for rate, own in rates.items() if rate not in ended for run in own
        ),
        family=first.family,
        final_ids=frozenset(run.config_id for run in finals),
        rate_names=names,
        machines=frozenset(hardware(run.record) for run in runs if run.record and _has_ended(run)),
        lost=sum(run.record is not None and not _has_ended(run) for run in runs),
        final_rates=tuple(final_rates),
        unlike=any(terms[rate] != known for rate in whole) or len({share for share, _ in tried}) > 1,
        tried=frozenset(rates),
        terms=tried,
        fresh=not {run.seed for run in tuning} & {run.seed for run in finals},
        error=_error(tuning),
        fraction=metric is None or metric.published_scale == 100.0,
    )


def _rate(run: Run) -> float:
    """NaN where the method of a record has none."""
    rate = run.setting("method", "learning_rate")
    return float(rate) if isinstance(rate, int | float) else math.nan


def _has_ended(run: Run) -> bool:
    return run.completed is not None or _diverged(run)


def _diverged(run: Run) -> bool:
    return run.record is not None and run.record.diverged


def _is_decided(runs: Sequence[Run]) -> bool:
    """Whether nothing is waited for of a rate's runs: all have ended, or one diverged (fair.Candidate)."""
    return all(map(_has_ended, runs)) or any(map(_diverged, runs))


def _mean(runs: Sequence[Run]) -> float | None:
    scores = [score for run in runs if (score := _last_score(run)) is not None]
    return fmean(scores) if len(scores) == len(runs) else None


def _last_score(run: Run) -> float | None:
    record = run.completed
    if record is None or record.last_headline is None:
        return None
    return record.last_headline * metric_of(str(record.headline), [record]).published_scale


def _error(tuning: Sequence[Run]) -> float | None:
    """sqrt(p (1 - p) / n) is at most 1 / (2 sqrt(n)); a correlation near 0 has 1 / sqrt(n - 1), others less."""
    record = next((run.completed for run in tuning if run.completed), None)
    if record is None or not record.last:
        return None
    name, examples = str(record.headline), next(iter(record.last.values())).examples
    scale = metric_of(name, [record]).published_scale
    if examples < 2 or scale != 100.0 or name not in (*CORRELATIONS, "accuracy"):
        return None
    return scale / (math.sqrt(examples - 1) if name in CORRELATIONS else 2 * math.sqrt(examples))


def _seconds(records: Iterable[RunRecord | None]) -> float | None:
    spent = [_spent(record) for record in records if record]
    known = [seconds for seconds in spent if seconds is not None]
    return sum(known) if len(known) == len(spent) else None


def _spent(record: RunRecord) -> float | None:
    """Processor time does not change with what else the machine does; on an accelerator it says little."""
    cost = run_cost(record)
    steps = cost.cpu if record.provenance.get("device") == "cpu" and cost.cpu is not None else cost.total
    return cost.wall if steps is None and record.diverged else steps


def tuning_table(cells: Sequence[TunedCell], *, extends: bool = True) -> PlainTable | None:
    """Held-out score by rate, the rate that was chosen, and what choosing cost; None where nothing was tuned.

    Args:
        cells: as `tuned_cells` orders them.
        extends: whether the grid was to be extended while the best rate is at its end.
    """
    if not cells:
        return None
    rates = sorted({rate for cell in cells for rate in cell.trials})
    several = len({cell.model for cell in cells}) > 1
    names = [f"{cell.task}, {cell.label}" + (f" on {cell.model}" if several else "") for cell in cells]
    rows = [
        (
            name,
            *(_score(cell, rate) for rate in rates),
            _choice(cell),
            _shown(cell, cell.tuning_seconds),
            _shown(cell, cell.final_seconds) if cell.chosen is not None else "",
        )
        for name, cell in zip(names, cells, strict=True)
    ]
    unlike = [name for name, cell in zip(names, cells, strict=True) if cell.unlike]
    one_grid = all(a.alike(b) for a, b in combinations(cells, 2) if (a.model, a.task) == (b.model, b.task))
    grid = "The grid of rates is one for all; it" if one_grid else "Not all were tuned alike; a grid of rates"
    end = (
        "is extended while the best rate is at its end. edge: the best rate still is there."
        if extends
        else "is not extended (tuning.extensions=0). edge: the best rate is at its end."
    )
    runs: dict[tuple[str, str, str], int] = {}
    for cell in cells:
        key = cell.model, cell.task, cell.method
        runs[key] = runs.get(key, 0) + cell.tuning_runs
    tried = " to ".join(map(str, dict.fromkeys((min(runs.values()), max(runs.values())))))
    notes = (
        "Headline score after the last epoch, on the part of the training data that tuning runs hold out; the task's "
        "own evaluation data are not looked at. The final runs use the chosen rate, all training data, other seeds.",
        f"Tuning runs per method and task: {tried}, over all settings that it was tuned with. {grid} {end}",
        "Seconds are of optimizer steps, search included, over all runs: processor time on a CPU, wall-clock time on "
        "an accelerator; of a run that diverged, of all it did. Empty where a record does not say, or where the runs "
        "were made on several machines.",
        *(
            f"The rates of {name} were not all tried on one share of the training data with the same seeds, so that "
            "its scores compare these too."
            for name in unlike
        ),
    )
    head = ("tuned on held-out data", *(f"{rate:g}" for rate in rates), "chosen", "tuning s", "final s")
    return PlainTable("Learning rates", head, tuple(rows), notes)


def _choice(cell: TunedCell) -> str:
    """The rate of the final runs, or their rates, with what is to be known of it; empty where there are none."""
    if cell.chosen is None:
        rates = ", ".join(f"{rate:g}" for rate in cell.final_rates)
        return f"{rates} ({'several' if len(cell.final_rates) > 1 else 'no held-out score'})" if rates else ""
    return f"{cell.chosen:g}{_remark(cell)}"


def _remark(cell: TunedCell) -> str:
    if not cell.is_best:
        return " (not the best)"
    if cell.unfinished:
        return " (best so far)"
    return " (edge)" if cell.at_edge else ""


def _shown(cell: TunedCell, seconds: float | None) -> str:
    return "" if seconds is None or len(cell.machines) > 1 else numerals.seconds(seconds)


def _score(cell: TunedCell, rate: float) -> str:
    if rate not in cell.trials:
        return ""
    score = cell.trials[rate]
    if score is None:
        return "undefined" if rate in cell.undefined else "diverged"
    return numerals.score(score, fraction=cell.fraction)
