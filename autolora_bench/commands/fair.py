"""Runs a comparison whose methods are tuned first: contender by contender, tuning runs before final ones."""

import sys
from collections.abc import Callable, Sequence

from autolora_bench.errors import UserError
from autolora_bench.fair import RATE, Candidate, Contender, contenders
from autolora_bench.plan import PlannedRun, State
from autolora_bench.processes import world_size
from autolora_bench.sweep import ENGINE, Request, plan

Sweep = Callable[[Sequence[str]], None]
"""Runs all jobs of a command line through Hydra."""


def run_fair(request: Request, sweep: Sweep, check: Callable[[Sequence[PlannedRun]], None]) -> int:
    """Tune and run every contender; exit status 0 when all final runs are completed.

    Args:
        request: a suite that tunes first.
        sweep: runs jobs; those that are completed it passes over.
        check: raises UserError where the runs' results cannot be written.

    Raises:
        UserError: there are several processes, or what `contenders` raises.
    """
    if world_size() > 1:
        raise UserError("a suite that tunes first runs in one process", "start it without torchrun")
    found = contenders(request)
    check([run for contender in found for run in contender.known()])
    for line in plan(request).left_out:
        print(f"left out: {line}", file=sys.stderr)
    status = 0
    for number, contender in enumerate(found, 1):
        print(f"{number} of {len(found)}: {contender.title}", file=sys.stderr, flush=True)
        status = max(status, _run(contender, sweep))
    return status


def _run(contender: Contender, sweep: Sweep) -> int:
    """Rounds of tuning runs until the choice is made, then the final runs; whether all are completed."""
    tried: set[tuple[str, ...]] = set()
    while True:
        wanted = [one for one in contender.candidates if one.merit is None and one.words not in tried]
        if not wanted:
            break
        tried.update(one.words for one in wanted)
        for words in _words_of(wanted):
            sweep(
                _line(
                    contender,
                    (*words, f"data.held_out={contender.tuning.held_out!r}"),
                    contender.tuning.seeds,
                )
            )
        contender = contender.fresh()
    choice = contender.choice
    if choice is None:
        _tell_unfinished(contender.tuning_runs())
        print("  no rate can be chosen: not all of its tuning runs are completed", file=sys.stderr)
        return 1
    _tell_choice(contender, choice)
    finals = contender.final_runs()
    if any(run.state() is not State.completed for run in finals):
        sweep(_line(contender, choice.words, contender.seeds))
    _tell_unfinished(finals)
    scores = [record.last_headline for run in finals if (record := run.record()) is not None]
    shown = [f"{score:.4f}" for score in scores if score is not None]
    print(f"  final: {', '.join(shown) or 'none'}", flush=True)
    return 0 if all(run.state() is State.completed for run in finals) else 1


def _words_of(candidates: Sequence[Candidate]) -> list[tuple[str, ...]]:
    """Their choices as words of as few sweeps as can be: the rates of equal other settings together."""
    rates: dict[tuple[str, ...], list[str]] = {}
    for candidate in candidates:
        rates.setdefault(candidate.words[1:], []).append(repr(candidate.rate))
    return [(f"{RATE}={','.join(values)}", *others) for others, values in rates.items()]


def _line(contender: Contender, words: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """A command line for Hydra. What the suite sweeps over is left out: the contender's words say it."""
    request = contender.request
    folder = ["--config-dir", str(request.config_dir)] if request.config_dir else []
    engine = [word for word in request.overrides if word.lstrip("+~").startswith(ENGINE)]
    seed = f"seed={','.join(map(str, seeds))}"
    return [*folder, "--multirun", *engine, "hydra.sweeper.params=null", *contender.words, *words, seed]


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


def _tell_unfinished(runs: Sequence[PlannedRun]) -> None:
    for run in runs:
        state = run.state()
        if state is not State.completed:
            print(f"  {state.value}: {run.command}", file=sys.stderr)
