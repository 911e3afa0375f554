"""What a reader can act on where methods were tuned alike: the gain over tuned LoRA first, then what limits trust."""

from collections.abc import Sequence
from itertools import combinations
from statistics import stdev

from autolora_bench.report import numerals
from autolora_bench.report.comparisons import needed_units, nothing_found
from autolora_bench.report.numerals import plural
from autolora_bench.report.quality import column_title
from autolora_bench.report.runs import Run, hardware
from autolora_bench.report.scoreboard import ALPHA, Claim, Row, Table
from autolora_bench.report.significance import bootstrap_interval, detectable_effect
from autolora_bench.report.tuning import TunedCell

REFERENCE = "lora"


def answers(tables: Sequence[Table], cells: Sequence[TunedCell]) -> list[str]:
    """One line for each model and question; first of all the gain over tuned LoRA."""
    lines = []
    for table in tables:
        own = [cell for cell in cells if cell.model == table.model]
        if own:
            lines += [*_gain(table, own), *_not_yet(own), *_reversals(own), *_cost(own), *_warnings(own)]
    return lines


def _gain(table: Table, cells: Sequence[TunedCell]) -> list[str]:
    """Who is separated from LoRA, and the widest claim of each method: over all tasks on which both were tuned."""
    tuned = {config_id for cell in cells if cell.is_best for config_id in cell.final_ids}
    found: dict[str, list[tuple[Claim, float]]] = {}
    reference = None
    for claim in table.claims:
        sides = table.rows[claim.first], table.rows[claim.second]
        methods = [row.method for row in sides]
        alike = all(run.config_id in tuned for row in sides for run in _runs(row, claim))
        if REFERENCE in methods and methods[0] != methods[1] and alike:
            sign = -1.0 if methods[0] == REFERENCE else 1.0
            reference, other = sides if sign < 0 else sides[::-1]
            found.setdefault(other.label, []).append((claim, sign))
    if reference is None:
        return []
    rows = {row.label: row for row in table.rows}
    widest = {label: max(pairs, key=lambda pair: len(pair[0].columns)) for label, pairs in found.items()}
    ahead = sorted(widest, key=lambda label: widest[label][1] * widest[label][0].mean, reverse=True)
    told = [f"{label} {_difference(*widest[label], reference, rows[label])}" for label in ahead]
    return [
        f"Tuned alike on {table.model}, against {reference.label}: {'; '.join(told)}. "
        f"{_verdict({label: [claim for claim, _ in found[label]] for label in ahead})}"
    ]


def _runs(row: Row, claim: Claim) -> list[Run]:
    """The completed runs of a row that a claim rests on."""
    tasks = {column.task for column in claim.columns}
    return [run for run in row.runs if run.completed and run.task in tasks]


def _difference(claim: Claim, sign: float, reference: Row, other: Row) -> str:
    interval = bootstrap_interval(claim.differences)
    ends = sorted(sign * end for end in interval) if interval else []
    effect = None
    if len(claim.units) > 1:
        effect = detectable_effect(stdev(claim.units), len(claim.units), ALPHA / claim.family)
    machines = {
        hardware(run.completed) for row in (reference, other) for run in _runs(row, claim) if run.completed
    }
    details = [
        f"95 % interval {' to '.join(map(numerals.difference, ends))}" if ends else "",
        f"{plural(claim.pairs, 'pair')} on {plural(len(claim.columns), 'task')}",
        f"would have found {numerals.score(effect)}" if effect is not None else "too few to find anything",
        *(_lost(row, claim) for row in (reference, other)),
        f"WARNING on {len(machines)} different machines or ways to compute" if len(machines) > 1 else "",
    ]
    return f"{numerals.difference(sign * claim.mean)} ({', '.join(filter(None, details))})"


def _lost(row: Row, claim: Claim) -> str:
    """The runs of a row without a score, which the difference leaves out."""
    tasks = {column.task for column in claim.columns}
    ended = [
        run for run in row.runs if run.task in tasks and run.record and (run.completed or run.record.diverged)
    ]
    scored = sum(len(row.cells[column].scores) for column in claim.columns)
    lost = len(ended) - scored
    return (
        f"WARNING {lost} of {len(ended)} runs of {row.label} have no score and are left out"
        if lost > 0
        else ""
    )


def _verdict(claims: dict[str, list[Claim]]) -> str:
    every = [claim for own in claims.values() for claim in own]
    tested = [claim for claim in every if claim.adjusted is not None]
    family = plural(every[0].family, "comparison")
    if not tested or all(len(claim.units) < needed_units(claim) for claim in tested):
        return f"{nothing_found(every[0])} seeds of a task, or as many tasks."
    separated = [f"{label} on {where}" for label, own in claims.items() if (where := _where(own))]
    if not separated:
        return f"After correction for {family} none is separated from it."
    return f"After correction for {family} separated from it: {'; '.join(separated)}."


def _where(claims: Sequence[Claim]) -> str:
    """Where a method is separated: on which tasks, and over how many."""
    return ", ".join(
        column_title(claim.columns[0])
        if len(claim.columns) == 1
        else f"the mean of {len(claim.columns)} tasks"
        for claim in claims
        if claim.separated
    )


def _not_yet(cells: Sequence[TunedCell]) -> list[str]:
    """Methods that no final run speaks for."""
    known = {(cell.method, cell.task) for cell in cells if cell.final_ids}
    waiting = [
        f"{cell.label} on {cell.task}"
        for cell in cells
        if cell.unfinished and (cell.method, cell.task) not in known
    ]
    unfinished = sum(cell.unfinished for cell in cells)
    if not unfinished:
        return []
    who = f" Not compared yet: {', '.join(waiting)}." if waiting else ""
    return [f"{plural(unfinished, 'tuning run')} not completed; `autolora-bench status` says which.{who}"]


def _reversals(cells: Sequence[TunedCell]) -> list[str]:
    """Pairs of methods whose order at LoRA's rate, used for all, is not their order at their own rates."""
    turned, compared, clear = [], 0, 0
    for task in dict.fromkeys(cell.task for cell in cells):
        own = [cell for cell in cells if cell.task == task and cell.chosen is not None]
        rate = next((cell.chosen for cell in own if cell.method == REFERENCE), None)
        for first, second in combinations(own, 2):
            shared = _between(first.merit(rate), second.merit(rate))
            tuned = _between(first.merit(first.chosen), second.merit(second.chosen))
            if shared is None or tuned is None:
                continue
            compared += 1
            if shared * tuned < 0:
                turned.append(f"{first.label} and {second.label} on {task}")
                errors = [cell.error for cell in (first, second) if cell.error is not None]
                clear += bool(errors) and min(abs(shared), abs(tuned)) > max(errors)
    if not compared:
        return []
    which = f": {'; '.join(turned)}" if turned else ""
    sure = (
        f"; {clear} of them by more than the standard error of a held-out score at both rates"
        if turned
        else ""
    )
    return [
        f"Tuning turned the order of {len(turned)} of {plural(compared, 'pair')} of methods that LoRA's own rate "
        f"would have given, on held-out data{which}{sure}."
    ]


def _between(first: float | None, second: float | None) -> float | None:
    """How far the first is ahead; 0 where both have no score, None where one was not tried."""
    if first is None or second is None:
        return None
    return 0.0 if first == second else first - second


def _cost(cells: Sequence[TunedCell]) -> list[str]:
    machines = {machine for cell in cells for machine in cell.machines}
    if len(machines) > 1:
        return [
            f"Cost: not added up, the runs were made on {len(machines)} machines, or computed in several ways."
        ]
    parts = []
    for spent, what in (
        ([cell.tuning_seconds for cell in cells], "to tune"),
        ([cell.final_seconds for cell in cells], "for the final runs"),
    ):
        known = [seconds for seconds in spent if seconds is not None]
        more = "" if len(known) == len(spent) else "at least "
        parts.append(f"{more}{numerals.duration(sum(known))} {what}")
    return [f"Cost: {parts[0]}, {parts[1]}."]


def _warnings(cells: Sequence[TunedCell]) -> list[str]:
    edges = [f"{cell.label} on {cell.task}" for cell in cells if cell.is_best and cell.at_edge]
    others = [f"{cell.label} on {cell.task}" for cell in cells if cell.final_ids and not cell.is_best]
    found = []
    if edges:
        found.append(f"WARNING the best rate is at an end of what was tried: {', '.join(edges)}.")
    if others:
        found.append(
            f"WARNING not compared as tuned, the final runs do not have the rate that tuning found best: "
            f"{', '.join(others)}."
        )
    return found
