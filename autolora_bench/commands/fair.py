"""Runs a comparison whose methods are tuned first: contender by contender, tuning runs before final ones."""

import sys
from collections.abc import Callable, Sequence

from autolora_bench.errors import UserError
from autolora_bench.fair import RATE, Candidate, Contender, contenders
from autolora_bench.plan import PlannedRun, State
from autolora_bench.processes import world_size
from autolora_bench.report.numerals import plural
from autolora_bench.request import Request
from autolora_bench.rerun import decide
from autolora_bench.sweeps import ENGINE, Shared, plan
from autolora_bench.untrusted import printable

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
        check: raises UserError where the runs' results cannot be written.
        status_of: of the runs of a contender that are not completed in the end.

    Returns:
        Exit status: 0 when all final runs are completed, 1 when a contender failed, else the largest of all.

    Raises:
        UserError: there are several processes, or what `plan` and `contenders` raise.
    """
    if world_size() > 1:
        raise UserError("a suite that tunes first runs in one process", "start it without torchrun")
    shared: Shared = []
    first = plan(request, shared)
    found = contenders(request, first, shared)
    check([run for contender in found for run in contender.known()])
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
        pairs = sum(methods.issuperset(text.split(":")) for text in own[0].example.compare)
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
            print("  no rate can be chosen: every run diverged; try lower tuning.rates", file=sys.stderr)
            return FAILED
        print("  no rate can be chosen: not all of its tuning runs are completed", file=sys.stderr)
        return status_of(_unfinished(contender.tuning_runs()))
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
    tried = [
        f"{' '.join(one.words).replace(f'{RATE}=', '')} {'diverged' if one.score is None else f'{one.score:.4f}'}"
        for one in contender.candidates
    ]
    edge = (
        "; the best is still at an end of what may be tried (tuning.extensions)" if contender.at_edge else ""
    )
    print(f"  tuned on {contender.tuning.held_out:.0%} of the training data: {', '.join(tried)}{edge}")
    print(f"  chosen: {' '.join(choice.words)}", flush=True)


def _unfinished(runs: Sequence[PlannedRun]) -> list[tuple[PlannedRun, State]]:
    """Those that are not completed, each told with its command."""
    states = [(run, run.state()) for run in runs]
    left = [one for one in states if one[1] is not State.completed]
    for run, state in left:
        print(f"  {state.value}: {run.command}", file=sys.stderr)
    return left
