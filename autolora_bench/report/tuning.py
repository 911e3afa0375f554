"""Methods that were tuned before they were compared (suite=fair): the answer, what each rate scored, what tuning cost.

Tuning runs are those with data.held_out: they are scored on training data that they did not train on, and never become
rows of a table of scores.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

from autolora_bench.record import RunRecord
from autolora_bench.report import numerals
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.frames import run_cost
from autolora_bench.report.numerals import plural
from autolora_bench.report.order import method_order
from autolora_bench.report.runs import Run, flatten
from autolora_bench.report.scoreboard import Claim, Table
from autolora_bench.report.significance import bootstrap_interval, detectable_effect
from autolora_bench.report.units import metric_of

REFERENCE = "lora"
RATE = "method.learning_rate"
NOT_OF_A_CELL = (RATE, "method.search.learning_rate", "data.held_out", "task.evaluation", "task.test")
"""Settings in which a cell's tuning runs differ from each other and from its final runs."""


@dataclass(frozen=True)
class TunedCell:
    """The tuning of one method on one task and model."""

    task: str
    model: str
    method: str
    label: str
    trials: dict[float, float | None]
    """Rate, ascending -> mean headline score on the held-out part, in the published unit; None where it diverged."""
    higher_is_better: bool
    chosen: float | None
    """The rate of the final runs; where there are none yet, None."""
    tuning_seconds: float
    """Of optimizer steps, search included, of all tuning runs."""
    final_seconds: float

    @property
    def at_edge(self) -> bool:
        """Whether a lower or a higher rate might be better still."""
        return self.chosen is not None and self.chosen in (min(self.trials), max(self.trials))

    def merit(self, rate: float | None) -> float | None:
        """The held-out score of a rate with higher always better, minus infinity where it diverged; None where it was
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
    groups: dict[tuple[str, str, str, str], list[Run]] = {}
    for run in runs:
        rest = sorted((k, v) for k, v in flatten(run.config).items() if k not in NOT_OF_A_CELL)
        groups.setdefault((run.model, run.task, run.method, str(rest)), []).append(run)
    found = [_cell(group) for group in groups.values() if any(map(is_tuning, group))]
    tasks = list(dict.fromkeys(cell.task for cell in found))
    return sorted(
        (cell for cell in found if cell.trials),
        key=lambda cell: (cell.model, tasks.index(cell.task), method_order(cell.method)),
    )


def _cell(runs: Sequence[Run]) -> TunedCell:
    first = runs[0]
    scores: dict[float, list[float | None]] = {}
    for run in filter(is_tuning, runs):
        if run.completed or (run.record and run.record.diverged):
            scores.setdefault(float(run.setting("method", "learning_rate")), []).append(_last_score(run))
    trials = {
        rate: fmean(known) if len(known := [v for v in found if v is not None]) == len(found) else None
        for rate, found in sorted(scores.items())
    }
    finals = [run for run in runs if not is_tuning(run)]
    records = [run.record for run in runs if run.record]
    metric = metric_of(str(records[0].headline), records) if records else None
    return TunedCell(
        task=first.task,
        model=first.model,
        method=first.method,
        label=first.method_title or first.method,
        trials=trials,
        higher_is_better=metric is None or metric.higher_is_better,
        chosen=float(finals[0].setting("method", "learning_rate")) if finals else None,
        tuning_seconds=_seconds(run.completed for run in runs if is_tuning(run)),
        final_seconds=_seconds(run.completed for run in finals),
    )


def _last_score(run: Run) -> float | None:
    record = run.completed
    if record is None or record.last_headline is None:
        return None
    return record.last_headline * metric_of(str(record.headline), [record]).published_scale


def _seconds(records: Iterable[RunRecord | None]) -> float:
    return sum(run_cost(record).total or 0.0 for record in records if record)


def tuning_table(cells: Sequence[TunedCell]) -> PlainTable | None:
    """Held-out score by rate, the rate that was chosen, and what choosing cost; None where nothing was tuned."""
    if not cells:
        return None
    rates = sorted({rate for cell in cells for rate in cell.trials})
    several = len({cell.model for cell in cells}) > 1
    rows = [
        (
            f"{cell.task}, {cell.label}" + (f" on {cell.model}" if several else ""),
            *(_score(cell, rate) for rate in rates),
            "" if cell.chosen is None else f"{cell.chosen:g}{' (edge)' if cell.at_edge else ''}",
            numerals.seconds(cell.tuning_seconds),
            numerals.seconds(cell.final_seconds) if cell.chosen is not None else "",
        )
        for cell in cells
    ]
    budgets = sorted({len(cell.trials) for cell in cells})
    tried = " to ".join(map(str, dict.fromkeys((budgets[0], budgets[-1]))))
    notes = (
        "Headline score after the last epoch, on the part of the training data that tuning runs hold out; the task's "
        "own evaluation data are not looked at. The final runs use the chosen rate, all training data, other seeds.",
        f"Rates tried per method: {tried}; the grid is one for all, and is extended while the best rate is at its end. "
        "edge: it still is.",
        "Seconds are of optimizer steps, search included, over all runs.",
    )
    head = ("tuned on held-out data", *(f"{rate:g}" for rate in rates), "chosen", "tuning s", "final s")
    return PlainTable("Learning rates", head, tuple(rows), notes)


def _score(cell: TunedCell, rate: float) -> str:
    if rate not in cell.trials:
        return ""
    score = cell.trials[rate]
    return "diverged" if score is None else numerals.score(score)


def answers(tables: Sequence[Table], cells: Sequence[TunedCell]) -> list[str]:
    """What a reader can act on, one line for each model and question; first of all the gain over tuned LoRA."""
    lines = []
    for table in tables:
        own = [cell for cell in cells if cell.model == table.model]
        if own:
            lines += [*_gain(table), *_reversals(own), *_cost(own)]
    return lines


def _gain(table: Table) -> list[str]:
    """Who is separated from LoRA, with the widest claim of each method: over all tasks that both have."""
    claims: dict[str, tuple[Claim, float]] = {}
    for claim in table.claims:
        sides = (table.rows[claim.first], table.rows[claim.second])
        names = [row.method for row in sides]
        if REFERENCE in names and names[0] != names[1]:
            sign = -1.0 if names[0] == REFERENCE else 1.0
            other = sides[1 if sign < 0 else 0].label
            if other not in claims or len(claim.columns) > len(claims[other][0].columns):
                claims[other] = (claim, sign)
    if not claims:
        return []
    ahead = sorted(claims, key=lambda label: claims[label][1] * claims[label][0].mean, reverse=True)
    told = [f"{label} {_difference(*claims[label])}" for label in ahead]
    separated = [label for label in ahead if claims[label][0].separated]
    verdict = f"separated from it: {', '.join(separated)}" if separated else "none is separated from it"
    return [f"Tuned alike on {table.model}, against LoRA: {'; '.join(told)}. After correction {verdict}."]


def _difference(claim: Claim, sign: float) -> str:
    interval = bootstrap_interval(claim.differences)
    ends = sorted(sign * end for end in interval) if interval else []
    effect = detectable_effect(stdev(claim.units), len(claim.units)) if len(claim.units) > 1 else None
    details = [
        f"{' to '.join(map(numerals.difference, ends))}" if ends else "",
        f"{plural(claim.pairs, 'pair')} on {plural(len(claim.columns), 'task')}",
        f"would have found {numerals.score(effect)}" if effect is not None else "too few to be tested",
    ]
    return f"{numerals.difference(sign * claim.mean)} ({', '.join(filter(None, details))})"


def _reversals(cells: Sequence[TunedCell]) -> list[str]:
    """Pairs of methods whose order at LoRA's rate, used for all, is not their order at their own rates."""
    turned, compared = [], 0
    for task in dict.fromkeys(cell.task for cell in cells):
        own = [cell for cell in cells if cell.task == task]
        rate = next((cell.chosen for cell in own if cell.method == REFERENCE), None)
        for first, second in combinations(own, 2):
            shared = first.merit(rate), second.merit(rate)
            tuned = first.merit(first.chosen), second.merit(second.chosen)
            if None in shared or None in tuned:
                continue
            compared += 1
            if _sign(*shared) * _sign(*tuned) < 0:
                turned.append(f"{first.label} and {second.label} on {task}")
    if not compared:
        return []
    which = f": {'; '.join(turned)}" if turned else ""
    return [
        f"Tuning turned the order of {len(turned)} of {plural(compared, 'pair')} of methods that LoRA's own rate "
        f"would have given, on held-out data{which}."
    ]


def _sign(first: float | None, second: float | None) -> int:
    assert first is not None
    assert second is not None
    return (first > second) - (first < second)


def _cost(cells: Sequence[TunedCell]) -> list[str]:
    tuning, final = sum(cell.tuning_seconds for cell in cells), sum(cell.final_seconds for cell in cells)
    edges = [f"{cell.label} on {cell.task}" for cell in cells if cell.at_edge]
    lines = [
        f"Cost: {numerals.duration(tuning)} of training to tune, {numerals.duration(final)} for the final runs."
    ]
    if edges:
        lines.append(f"WARNING the best rate is at an end of what was tried: {', '.join(edges)}.")
    return lines
