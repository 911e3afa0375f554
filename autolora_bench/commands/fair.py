"""Runs a comparison whose methods are tuned first: contender by contender, tuning runs before final ones."""

import sys
from collections.abc import Callable, Sequence

from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun, State, methods_of
from autolora_bench.processes import world_size
from autolora_bench.report.numerals import plural
from autolora_bench.request import Request
from autolora_bench.rerun import decide
from autolora_bench.sweeps.expansion import ENGINE, Shared
from autolora_bench.sweeps.tuned_first import Candidate, Contender, contenders, untuned_runs
from autolora_bench.sweeps.tuned_settings import RATE
from autolora_bench.untrusted import in_a_line, printable

Sweep = Callable[[Sequence[str]], None]
"""Runs all jobs of a command line through Hydra."""
StatusOf = Callable[[Sequence[tuple[PlannedRun, State]]], int]
"""Runs that are not completed -> exit status."""
FAILED, MISTAKE = 1, 2


def run_fair(
    request: Request, sweep: Sweep, check: Callable[[Sequence[PlannedRun]], None], status_of: StatusOf
) -> int:
    """Tune and run every contender.

    Args:
        request: a suite that tunes first.
        sweep: runs jobs; those that are completed it passes over.
        check: raises UserError where the runs' results cannot be written, or one of those to be made cannot be.
        status_of: of the runs of a contender that are not completed in the end.

    Returns:
        Exit status: 0 when all final runs are completed, 1 when a contender failed, else the largest of all.

    Raises:
        UserError: there are several processes, or what `untuned_runs` and `contenders` raise.
    """
    if world_size() > 1:
        raise UserError("a suite that tunes first runs in one process", "start it without torchrun")
    shared: Shared = []
    first = untuned_runs(request, shared)
    found = contenders(request, first, shared)
    check([run for one in found for run in (*one.waited_for(), *one.final_runs())])
    for line in first.left_out:
        print(f"left out: {line}", file=sys.stderr)
    for line in too_few_seeds(found):
        print(f"note: {line}", file=sys.stderr)
    statuses = [0]
    for number, contender in enumerate(found, 1):
        print(f"{number} of {len(found)}: {contender.title}", file=sys.stderr, flush=True)
        statuses.append(_run(contender, sweep, status_of))
    return FAILED if FAILED in statuses else max(statuses)


def too_few_seeds(found: Sequence[Contender]) -> list[str]:
    """For each model what its report could not separate, whatever the scores: more comparisons need more seeds."""
    from autolora_bench.report.scoreboard import (
        ALPHA,  # these import pandas, and every run imports this module
    )
    from autolora_bench.report.significance import smallest_separable

    lines = []
    for model in dict.fromkeys(one.example.model.name for one in found):
        own = [one for one in found if one.example.model.name == model]
        methods, tasks = ({getattr(one.example, node).name for one in own} for node in ("method", "task"))
        pairs = sum(methods.issuperset(methods_of(text)) for text in own[0].example.compare)
        if not pairs:
            continue
        seeds = max(len(one.seeds) for one in own)
        needed, tasks_needed = (smallest_separable(ALPHA / count) for count in (pairs * len(tasks), pairs))
        if seeds < needed and len(tasks) < tasks_needed:
            lines.append(
                f"on {model} {plural(seeds, 'seed')} cannot separate anything after correction for "
                f"{plural(pairs * len(tasks), 'comparison')}, whatever the scores: it takes {needed} seeds (seed="
                f"{','.join(map(str, range(needed)))}) or {tasks_needed} tasks"
            )
    return lines


def _run(contender: Contender, sweep: Sweep, status_of: StatusOf) -> int:
    """Rounds of tuning runs until the choice is made, then the final runs. Returns the exit status."""
    tried: set[tuple[str, ...]] = set()
    while True:
        fresh = [one for one in contender.candidates if one.words not in tried]
        tried.update(one.words for one in fresh)
        if _are_refused([run for one in fresh for run in one.runs]):
            return MISTAKE
        wanted = [one for one in fresh if one.merit is None]
        if not wanted:
            break
        held_out = f"data.held_out={contender.tuning.held_out!r}"
        for words in _words_of(wanted):
            sweep(_line(contender, (*words, held_out), contender.tuning.seeds))
        contender = contender.fresh()
    choice = contender.choice
    if choice is None:
        if contender.hopeless:
            print(f"  no rate can be chosen: {_why_hopeless(contender.candidates)}", file=sys.stderr)
            return FAILED
        print("  no rate can be chosen: not all of its tuning runs are completed", file=sys.stderr)
        return status_of(_unfinished(contender.waited_for()))
    _tell_choice(contender, choice)
    finals = contender.final_runs()
    if _are_refused(finals):
        return MISTAKE
    if any(run.state() is not State.completed for run in finals):
        sweep(_line(contender, choice.words, contender.seeds))
    left = _unfinished(finals)
    scores = [record.last_headline for run in finals if (record := run.record()) is not None]
    shown = [f"{score:.4f}" for score in scores if score is not None]
    print(f"  final: {', '.join(shown) or 'none'}", flush=True)
    return status_of(left)


def _are_refused(runs: Sequence[PlannedRun]) -> bool:
    """Whether a record is of other data, or of something else that was not asked for; each is told."""
    problems = [decide(run.experiment, run.folder).problem for run in runs]
    for problem in problems:
        if problem is not None:
            print(printable(f"{problem.what}\n{problem.mend}"), file=sys.stderr)
    return any(problem is not None for problem in problems)


def _words_of(candidates: Sequence[Candidate]) -> list[tuple[str, ...]]:
    """Their choices as words of as few sweeps as can be: the rates of equal other settings together."""
    rates: dict[tuple[str, ...], list[str]] = {}
    for candidate in candidates:
        rates.setdefault(candidate.words[1:], []).append(repr(candidate.rate))
    return [(f"{RATE}={','.join(values)}", *others) for others, values in rates.items()]


def _line(contender: Contender, words: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """A command line for Hydra. What the suite sweeps over is left out: the contender's words say it."""
    request = contender.request
    engine = [word for word in request.overrides if word.lstrip("+~").startswith(ENGINE)]
    seed = f"seed={','.join(map(str, seeds))}"
    return [
        *request.own_folder,
        "--multirun",
        *engine,
        "hydra.sweeper.params=null",
        *contender.words,
        *words,
        seed,
    ]


def _tell_choice(contender: Contender, choice: Candidate) -> None:
    tried = [f"{' '.join(one.words).replace(f'{RATE}=', '')} {_shown(one)}" for one in contender.candidates]
    edge = (
        "; the best is still at an end of what may be tried (tuning.extensions)" if contender.at_edge else ""
    )
    print(f"  tuned on {contender.tuning.held_out:.0%} of the training data: {', '.join(tried)}{edge}")
    print(f"  chosen: {' '.join(choice.words)}", flush=True)


def _shown(candidate: Candidate) -> str:
    if candidate.score is not None:
        return f"{candidate.score:.4f}"
    return "undefined" if candidate.undefined else "diverged"


def _why_hopeless(candidates: Sequence[Candidate]) -> str:
    """Why none has a score, and what may help."""
    undefined = [record for one in candidates if one.undefined for record in one.records]
    if not undefined:
        return "every run diverged; try lower tuning.rates"
    notes = {evaluation.note for record in undefined for evaluation in record.last.values()}
    said = f" ({in_a_line('; '.join(sorted(filter(None, notes))))})" if any(notes) else ""
    others = " and others diverged" if any(one.diverged for one in candidates) else ""
    return (
        f"held-out scores are undefined{others}{said}\n  hold out more examples, by a larger tuning.held_out or "
        "data.limit; where predictions are all alike, or runs diverged, try lower tuning.rates"
    )


def _unfinished(runs: Sequence[PlannedRun]) -> list[tuple[PlannedRun, State]]:
    """Those that are not completed, each told with its command."""
    states = [(run, run.state()) for run in runs]
    left = [one for one in states if one[1] is not State.completed]
    for run, state in left:
        print(f"  {state.value}: {run.command}", file=sys.stderr)
    return left
