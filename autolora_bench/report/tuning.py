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
from autolora_bench.report.rows import Variant, settings
from autolora_bench.report.runs import OTHER, Run, flatten, method_order
from autolora_bench.report.scoreboard import Claim, Table
from autolora_bench.report.significance import bootstrap_interval, detectable_effect
from autolora_bench.report.units import metric_of

REFERENCE = "lora"
RATE = "method.learning_rate"
NOT_OF_A_CELL = (RATE, "method.search.learning_rate", "data.held_out", "task.evaluation", "task.test")
"""Settings in which a cell's tuning runs differ from each other and from its final runs."""


@dataclass(frozen=True)
class TunedCell:
    """The tuning of one method with one choice of its other settings, on one task and model."""

    task: str
    model: str
    method: str
    label: str
    """The method's title, with the settings that tell it from the method's other cells on this task and model."""
    trials: dict[float, float | None]
    """Rate, ascending -> mean headline score on the held-out part, in the published unit; None where it diverged.
    A rate some of whose runs have not ended is not among them."""
    higher_is_better: bool
    chosen: float | None
    """The rate of the final runs; None where there are none, or they are not of one rate that was tried."""
    tuning_seconds: float
    """Of optimizer steps, search included, of all tuning runs."""
    final_seconds: float
    unfinished: int
    """Tuning runs that have not ended."""
    family: str = OTHER
    """The method's, which decides its colour."""

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
    groups: dict[tuple[str, str, str], dict[Variant, list[Run]]] = {}
    for run in runs:
        rest = tuple(sorted((k, v) for k, v in flatten(run.config).items() if k not in NOT_OF_A_CELL))
        groups.setdefault((run.model, run.task, run.method), {}).setdefault(rest, []).append(run)
    found = []
    for group in groups.values():
        tuned = {rest: members for rest, members in group.items() if any(map(is_tuning, members))}
        common = set.intersection(*(set(rest) for rest in tuned)) if tuned else set()
        found += [
            _cell(members, [setting for setting in rest if setting not in common])
            for rest, members in tuned.items()
        ]
    tasks = list(dict.fromkeys(cell.task for cell in found))
    families = {run.method: run.family for run in runs}

    def key(cell: TunedCell) -> tuple[object, ...]:
        return cell.model, tasks.index(cell.task), method_order(cell.method, families[cell.method])

    return sorted(found, key=key)


def _cell(runs: Sequence[Run], own: Variant | list[tuple[str, str]]) -> TunedCell:
    first, tuning = runs[0], [run for run in runs if is_tuning(run)]
    rates: dict[float, list[Run]] = {}
    for run in tuning:
        rates.setdefault(_rate(run), []).append(run)
    trials = {
        rate: _mean(members) for rate, members in sorted(rates.items()) if all(map(_has_ended, members))
    }
    finals = [run for run in runs if not is_tuning(run)]
    chosen = {_rate(run) for run in finals}
    records = [run.record for run in runs if run.record]
    metric = metric_of(str(records[0].headline), records) if records else None
    return TunedCell(
        task=first.task,
        model=first.model,
        method=first.method,
        label=", ".join(
            [first.method_title or first.method, settings(tuple(own))] if own else [first.method_title]
        ),
        trials=trials,
        higher_is_better=metric is None or metric.higher_is_better,
        chosen=chosen.pop() if len(chosen) == 1 and chosen <= trials.keys() else None,
        tuning_seconds=_seconds(run.completed for run in tuning),
        final_seconds=_seconds(run.completed for run in finals),
        unfinished=sum(not _has_ended(run) for run in tuning),
        family=first.family,
    )


def _rate(run: Run) -> float:
    """NaN where the method of a record has none."""
    rate = run.setting("method", "learning_rate")
    return float(rate) if isinstance(rate, int | float) else math.nan


def _has_ended(run: Run) -> bool:
    return run.completed is not None or (run.record is not None and run.record.diverged)


def _mean(runs: Sequence[Run]) -> float | None:
    scores = [score for run in runs if (score := _last_score(run)) is not None]
    return fmean(scores) if len(scores) == len(runs) else None


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
            lines += [*_gain(table, own), *_reversals(own), *_cost(own)]
    return lines


def _gain(table: Table, cells: Sequence[TunedCell]) -> list[str]:
    """Who is separated from LoRA, with the widest claim of each method: over all tasks on which both were tuned."""
    tuned = {(cell.method, cell.task) for cell in cells if cell.chosen is not None}
    claims: dict[str, tuple[Claim, float]] = {}
    for claim in table.claims:
        sides = (table.rows[claim.first], table.rows[claim.second])
        names = [row.method for row in sides]
        alike = all((name, column.task) in tuned for name in names for column in claim.columns)
        if REFERENCE in names and names[0] != names[1] and alike:
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
        own = [cell for cell in cells if cell.task == task and cell.chosen is not None]
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
    unfinished = sum(cell.unfinished for cell in cells)
    if unfinished:
        lines.append(f"{plural(unfinished, 'tuning run')} not completed; `autolora-bench status` says which.")
    if edges:
        lines.append(f"WARNING the best rate is at an end of what was tried: {', '.join(edges)}.")
    return lines
