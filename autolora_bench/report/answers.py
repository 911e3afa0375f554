"""What a reader can act on where methods were tuned alike: the gain over tuned LoRA first, then what limits trust."""

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from statistics import stdev

from autolora_bench.config.registry import UNTRAINED
from autolora_bench.errors import listed
from autolora_bench.report import numerals
from autolora_bench.report.comparisons import needed_units, nothing_found
from autolora_bench.report.numerals import plural
from autolora_bench.report.quality import column_title
from autolora_bench.report.runs import Run, computed_apart, hardware, told
from autolora_bench.report.scoreboard import ALPHA, Claim, Row, Table, pair_named
from autolora_bench.report.significance import bootstrap_interval, detectable_effect
from autolora_bench.report.tuning import TunedCell, tuned_ids

REFERENCE = "lora"
SHARED = ("train.", "data.", "model.")
"""Settings that methods which are compared share, but for the rate where one of them has it."""
NAMED = 3
"""So many settings are named."""


def answers(tables: Sequence[Table], cells: Sequence[TunedCell]) -> list[str]:
    """One line for each model and question; first of all the gain over tuned LoRA."""
    lines = []
    for table in tables:
        own = [cell for cell in cells if cell.model == table.model]
        if own:
            lines += [*_gain(table, own), *_not_yet(own), *_reversals(table, own), *_cost(own)]
            lines += _warnings(own)
    return lines


def _gain(table: Table, cells: Sequence[TunedCell]) -> list[str]:
    """Who is separated from LoRA, the widest claim of each method, over all tasks on which both were tuned; and which
    methods are not compared with it, and why."""
    reference = next((row for row in table.rows if row.method == REFERENCE and row.main), None)
    if reference is None:
        return []
    place = table.rows.index(reference)
    tuned = tuned_ids(cells)
    found: dict[str, list[tuple[Claim, float]]] = {}
    for claim in table.claims:
        if place not in (claim.first, claim.second):
            continue
        other = table.rows[claim.second if claim.first == place else claim.first]
        alike = all(run.config_id in tuned for row in (reference, other) for run in _runs(row, claim))
        if other.method != REFERENCE and alike:
            found.setdefault(other.label, []).append((claim, -1.0 if claim.first == place else 1.0))
    left_out = _left_out(table, reference, [row for row in table.rows if row.label not in found], tuned)
    if not found:
        return left_out
    rows = {row.label: row for row in table.rows}
    widest = {label: max(pairs, key=lambda pair: len(pair[0].columns)) for label, pairs in found.items()}
    ahead = sorted(widest, key=lambda label: widest[label][1] * widest[label][0].mean, reverse=True)
    lines = []
    for label in ahead:
        tied = {n for cell in cells if cell.method == rows[label].method for n in cell.rate_names}
        lines.append(f"{label} {_difference(*widest[label], reference, rows[label], tied)}")
    verdict = _verdict({label: [claim for claim, _ in found[label]] for label in ahead}, table.claims)
    how = "" if _unlike_tuning([cell for cell in cells if cell.final_ids]) else "alike "
    return [
        f"Tuned {how}on {table.model}, against {reference.label}: {'; '.join(lines)}. {verdict}",
        *left_out,
    ]


def _left_out(table: Table, reference: Row, rows: Sequence[Row], tuned: Collection[str]) -> list[str]:
    """Methods with runs that no difference is told of."""
    declared = [{table.rows[n].label for n in pair_named(table.rows, text) or ()} for text in table.compare]
    lines = []
    for row in rows:
        completed = [run for run in row.runs if run.completed]
        if not (row.main or row.undecided) or row.method in (REFERENCE, UNTRAINED) or not completed:
            continue
        headlines = [column for column in table.columns if column.headline]
        shared = max(
            (len(row.cells[one].pairs.keys() & reference.cells[one].pairs.keys()) for one in headlines),
            default=0,
        )
        if row.undecided and {row.label, reference.label} not in declared:
            why = "of several settings, and which are its own is not known: --config-dir names its folder"
        elif not all(run.config_id in tuned for run in completed):
            why = "not tuned, or not run with the rate that tuning chose"
        elif not all(run.config_id in tuned for run in reference.runs if run.completed):
            why = f"{reference.label} is not tuned"
        elif shared < 2:
            why = f"{plural(shared, 'pair')} shared with it"
        else:
            why = f"not declared, compare={row.method}:{REFERENCE} does"
        lines.append(f"{row.label} ({why})")
    return [f"Not compared with {reference.label}: {'; '.join(lines)}."] if lines else []


def _runs(row: Row, claim: Claim) -> list[Run]:
    """The completed runs of a row that a claim rests on."""
    tasks = {column.task for column in claim.columns}
    return [run for run in row.runs if run.completed and run.task in tasks]


def _difference(claim: Claim, sign: float, reference: Row, other: Row, tied: Collection[str]) -> str:
    interval = bootstrap_interval(claim.differences)
    ends = sorted(sign * end for end in interval) if interval else []
    machines = {
        hardware(run.completed) for row in (reference, other) for run in _runs(row, claim) if run.completed
    }
    details = [
        f"95 % interval {' to '.join(map(numerals.difference, ends))}" if ends else "",
        f"{plural(claim.pairs, 'pair')} on {plural(len(claim.columns), 'task')}",
        _power(claim),
        _ranks(claim, reference, other),
        _unlike(claim, reference, other, tied),
        *(_lost(row, claim) for row in (reference, other)),
        f"WARNING {computed_apart(machines)}" if len(machines) > 1 else "",
    ]
    return f"{numerals.difference(sign * claim.mean)} ({', '.join(filter(None, details))})"


def _power(claim: Claim) -> str:
    spread = stdev(claim.units) if len(claim.units) > 1 else 0.0
    effect = detectable_effect(spread, len(claim.units), ALPHA / claim.family)
    if effect is not None:
        return f"would have found {numerals.size(effect)}"
    if len(claim.units) >= needed_units(claim):
        return "the differences do not vary, so that what would have been found is not known"
    if len(claim.columns) > 1 and (claim.adjusted is None or claim.family == 1):
        return "too few tasks to find anything in their mean"
    if claim.adjusted is None or claim.family == 1:
        return "too few to find anything"
    return "too few to find anything unless others are found"  # Holm's later steps ask for less


def _ranks(claim: Claim, reference: Row, other: Row) -> str:
    """The sums of ranks over all layers, where those of the two rows differ."""
    totals = [
        {sum(layer.rank for layer in run.completed.ranks) for run in _runs(row, claim) if run.completed}
        for row in (other, reference)
    ]
    if totals[0] == totals[1] or {0} in totals:
        return ""
    own, its = (" to ".join(dict.fromkeys(map(str, (min(one), max(one))))) for one in totals)
    return f"ranks {own} in all, LoRA's {its}"


def _unlike(claim: Claim, reference: Row, other: Row, tied: Collection[str]) -> str:
    """Settings of training and data, beside the rate, in which the two rows differ."""
    found: dict[str, str] = {}
    for task in dict.fromkeys(column.task for column in claim.columns):
        own, its = (
            next(run for run in _runs(row, claim) if run.task == task).settings for row in (other, reference)
        )
        for name in sorted({*own, *its}):
            if name.startswith(SHARED) and name not in tied and told(own, name) != told(its, name):
                found[name] = f"{name}={told(own, name)} instead of {told(its, name)}"
    return f"WARNING with {listed([*found.values()], NAMED)}" if found else ""


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


def _verdict(claims: dict[str, list[Claim]], of_table: Sequence[Claim]) -> str:
    """Of the claims about LoRA; the others of the table's family decide whether any could be separated at all."""
    every = [claim for own in claims.values() for claim in own]
    tested = any(claim.adjusted is not None for claim in every)
    family = plural(every[0].family, "comparison")
    if not tested or all(len(claim.units) < needed_units(claim) for claim in of_table):
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
    waiting = [cell for cell in cells if (cell.method, cell.task) not in known]
    lines = []
    unfinished = sum(cell.unfinished for cell in cells)
    if unfinished:
        names = _named(cell for cell in waiting if cell.unfinished)
        who = f" Not compared yet: {names}." if names else ""
        lines.append(
            f"{plural(unfinished, 'tuning run')} not completed; `autolora-bench status` says which.{who}"
        )
    ended = [cell for cell in waiting if not cell.unfinished]
    lost = [cell for cell in ended if not any(score is not None for score in cell.trials.values())]
    if lost:
        lines.append(f"Not compared, as no tuning run has a score: {_named(lost)}.")
    if names := _named(cell for cell in ended if cell not in lost):
        lines.append(f"Tuned and not compared yet, without a final run: {names}.")
    return lines


def _named(cells: Iterable[TunedCell]) -> str:
    return ", ".join(f"{cell.label} on {cell.task}" for cell in cells)


def _reversals(table: Table, cells: Sequence[TunedCell]) -> list[str]:
    """Pairs of methods whose order at LoRA's rate, used for all, is not their order at their own rates."""
    main = {run.config_id for row in table.rows if row.main for run in row.runs}
    compared_cells = [cell for cell in cells if cell.chosen is not None and cell.final_ids & main]
    turned, compared, judged, clear = [], 0, 0, 0
    for task in dict.fromkeys(cell.task for cell in compared_cells):
        own = [cell for cell in compared_cells if cell.task == task]
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
                judged += bool(errors)
                clear += bool(errors) and min(abs(shared), abs(tuned)) > max(errors)
    if not compared:
        return []
    which = f": {'; '.join(turned)}" if turned else ""
    of = "them" if judged == len(turned) else f"the {judged} whose metric has a known one"
    sure = f"; {clear} of {of} by more than the standard error of a held-out score at both rates"
    if not judged:
        sure = "; the standard error of a held-out score is not known for such metrics" if turned else ""
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
        return [f"Cost: not added up, the runs were made {computed_apart(machines)}."]
    parts = []
    for spent, what in (
        ([cell.tuning_seconds for cell in cells], "to tune"),
        ([cell.final_seconds for cell in cells], "for the final runs"),
    ):
        known = [seconds for seconds in spent if seconds is not None]
        more = "" if len(known) == len(spent) else "at least "
        parts.append(f"{more}{numerals.duration(sum(known))} {what}")
    lost = sum(cell.lost for cell in cells)
    rest = f", without {plural(lost, 'run')} that did not come to an end" if lost else ""
    return [f"Cost: {parts[0]}, {parts[1]}{rest}."]


def _warnings(cells: Sequence[TunedCell]) -> list[str]:
    final = [cell for cell in cells if cell.final_ids]
    found = []
    if names := _named(cell for cell in final if cell.is_best and cell.at_edge):
        found.append(f"WARNING the best rate is at an end of what was tried: {names}.")
    if names := _named(cell for cell in final if cell.unfinished):
        found.append(f"WARNING tuning is not completed, so that another rate may be better: {names}.")
    if names := _named(cell for cell in final if not cell.is_best):
        found.append(
            "WARNING not compared as tuned, the final runs do not have the rate that tuning found best: "
            f"{names}."
        )
    if names := _named(cell for cell in final if not cell.fresh):
        found.append(
            f"WARNING final runs have a seed by which the rate was chosen, and are not fresh: {names}."
        )
    for first, others in _unlike_tuning(final):
        found.append(
            f"WARNING not tuned as {first.label} was on {first.task}, but on other rates, seeds or held-out data: "
            f"{', '.join(cell.label for cell in others)}."
        )
    return found


def _unlike_tuning(cells: Sequence[TunedCell]) -> list[tuple[TunedCell, list[TunedCell]]]:
    """Of every task LoRA's cell, or the first, with those that were tuned on other terms."""
    found = []
    for task in dict.fromkeys(cell.task for cell in cells):
        own = [cell for cell in cells if cell.task == task]
        first = next((cell for cell in own if cell.method == REFERENCE), own[0])
        others = [cell for cell in own if cell is not first and not cell.alike(first)]
        if others:
            found.append((first, others))
    return found
