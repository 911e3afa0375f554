"""Runs Optuna studies one after the other, and says what each found."""

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from autolora_bench.errors import UserError
from autolora_bench.plan import State
from autolora_bench.processes import world_size
from autolora_bench.record import RunRecord
from autolora_bench.tuning import Study


def run_studies(
    studies: Sequence[Study],
    sweep: Callable[[Study], None],
    headline: Callable[[RunRecord | None], float | None],
) -> int:
    """Run every study; exit status 0 when all of their trials are completed.

    A study whose method does not work on its task or model is left out, unless there is no other.

    Args:
        studies: at least one.
        sweep: runs one through Hydra.
        headline: what is tuned, of a record.

    Raises:
        UserError: there are several processes, or no study can be run; what `Study.check` raises.
    """
    if world_size() > 1:
        raise UserError("Optuna's sweeper runs in one process", "start it without torchrun")
    able = _able(studies)
    status = 0
    for number, study in enumerate(able, 1):
        what = f"{study.trials} trials of {', '.join(study.tuned)}"
        print(f"study {number} of {len(able)}: {study.title}, {what}", file=sys.stderr, flush=True)
        sweep(study)
        if not _tell(study, headline):
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


def _tell(study: Study, headline: Callable[[RunRecord | None], float | None]) -> bool:
    """Print the best trial and the tally; whether all trials are completed."""
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
    left = study.trials - states[State.completed]
    if left > 0:
        print(f"  {left} of {study.trials} trials are not completed", file=sys.stderr)
    return left <= 0
