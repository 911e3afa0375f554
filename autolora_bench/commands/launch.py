"""`autolora-bench task=... method=...`: runs one cell, a sweep or a suite through Hydra."""

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from autolora_bench import __version__
from autolora_bench.commands.announce import announce, label, show
from autolora_bench.commands.check import check_before, check_can_start, check_results
from autolora_bench.commands.fair import run_fair
from autolora_bench.commands.options import QUESTIONS
from autolora_bench.commands.through_hydra import RefusedTrialError, ask, refusals_told, sweep
from autolora_bench.config.compose import to_experiment
from autolora_bench.config.experiment import ExperimentConfig, Rerun, run_folder
from autolora_bench.config.support import UnsupportedError
from autolora_bench.config.trackers import SWEEP
from autolora_bench.errors import UserError
from autolora_bench.garbage import for_good
from autolora_bench.interruption import Interrupted, watched_signals
from autolora_bench.ownership import owned, owner_of, wait_until_free
from autolora_bench.paths import RECORD
from autolora_bench.plan import PlannedRun, State, check_references, command_line, has_ranks, reference
from autolora_bench.processes import is_main, leave, on_main, silent, world_size
from autolora_bench.push import check_push, push_exports
from autolora_bench.record import RunRecord, Status
from autolora_bench.request import Request, read_request
from autolora_bench.rerun import Written, decide, not_run_again, written
from autolora_bench.sweeps.expansion import (
    ENGINE,
    Plan,
    beside,
    plan,
    sweep_name,
    words_for_hydra,
    words_of_first,
)
from autolora_bench.sweeps.studies import Study, is_studied, run_studies, studies
from autolora_bench.sweeps.tuned_first import is_fair, planned_runs
from autolora_bench.untrusted import printable

ELSEWHERE = 3
"""Exit status where nothing failed, and other processes are still making some of the runs."""
PASSED_TO_HYDRA = (*QUESTIONS, "--hydra-help", "--resolve")


def run(words: Sequence[str]) -> int:
    """Run what is asked for and is not there yet; exit status 0 when every run is completed, ELSEWHERE when others are
    being made by other processes."""
    if "--version" in words:
        print(__version__)
        return 0
    if any(word.partition("=")[0] in PASSED_TO_HYDRA for word in words):
        return _ask_hydra(words)
    try:
        request = read_request(words)
        return _launch(request) if is_main() else silent(lambda: _follow(request))
    finally:
        leave()


def _follow(request: Request) -> int:
    """The part of a process that is not the main one, which says what is to be said."""
    try:
        return _launch(request)
    except UserError as error:
        return error.status
    except Interrupted as stop:
        return stop.status


def complete(request: Request) -> list[tuple[RunRecord | None, UserError | None]]:
    """Run what is missing of a request in this process; for every run its record, or why it has none.

    Jobs go through Hydra only where its launcher is asked for, or where a suite tunes first.

    Raises:
        UserError: as `expansion.plan`; results that cannot be written; a suite whose runs are chosen as it goes; what
            `check_push` and `push_exports` raise.
        KeyboardInterrupt: it was stopped; what was being run has a record that says so.
    """
    if studies(request):
        raise UserError("the runs of this suite are chosen as it goes", "run it from the command line")
    if is_fair(request) or any(word.startswith(ENGINE) for word in request.overrides):
        _launch(request)
        planned = planned_runs(request)
        return [(entry.record(), decide(entry.experiment, entry.folder).problem) for entry in planned]
    planned = plan(request)
    pending, problems = _prepared(planned)
    with _named_sweep(request):
        ended = {entry.folder: _complete(entry.experiment, entry.command) for entry in pending}
    found = [
        ended.get(entry.folder, (None, None)) if entry in pending else _before(entry, problems)
        for entry in planned
    ]
    records = zip(planned, (record for record, _ in found), strict=True)
    push_exports([entry for entry, one in records if one is not None and one.status is Status.completed])
    return found


def _before(
    entry: PlannedRun, problems: Mapping[Path, UserError]
) -> tuple[RunRecord | None, UserError | None]:
    problem = problems.get(entry.folder)
    return (None, problem) if problem else (entry.record(), None)


def _launch(request: Request) -> int:
    if world_size() > 1 and any(word.startswith("hydra/launcher=") for word in request.overrides):
        raise UserError(
            "torchrun starts the processes of one run, a launcher those of a sweep", "use one of the two"
        )
    if is_fair(request):
        with _named_sweep(request):
            return run_fair(request, _sweep, _check_known, _exit_status)
    wanted = studies(request)
    if wanted:
        return run_studies(wanted, _study, _check_study, headline)
    planned = plan(request)
    pending, problems = _prepared(planned)
    before = on_main(lambda: written(pending))
    if pending:
        with watched_signals(), _named_sweep(request):
            _run_all(request, pending)
    status = on_main(lambda: _tally(planned, pending, before)) or (2 if problems else 0)
    push_exports(on_main(lambda: _to_push(planned, problems, not_run_again(pending, before))))
    return status


def _to_push(
    planned: Sequence[PlannedRun], problems: Mapping[Path, UserError], kept: Sequence[PlannedRun]
) -> list[PlannedRun]:
    """The runs that are completed, and are what was asked for."""
    asked = [entry for entry in planned if entry.experiment.push and entry.folder not in problems]
    return [entry for entry in asked if entry not in kept and entry.state() is State.completed]


def _run_all(request: Request, pending: Sequence[PlannedRun]) -> None:
    """A single run as it was planned; a sweep by Hydra, which has launchers and sweepers for it."""
    if not request.multirun and "suite" not in request.said and not _speaks_to_hydra(request):
        for entry in pending:
            _complete(entry.experiment, entry.command)
        return
    made: set[Path] = set()

    def once(config: DictConfig) -> float | None:
        return _job(config, made=made)

    for one in [request, *beside(request)]:
        one_trial = [*one.overrides, "hydra.sweeper.n_trials=1"]
        sweep([*one.flags, *(one_trial if is_studied(one) else words_for_hydra(one))], once)


def _speaks_to_hydra(request: Request) -> bool:
    return any(word.lstrip("+~").startswith("hydra") for word in request.overrides)


def _prepared(planned: Plan) -> tuple[list[PlannedRun], dict[Path, UserError]]:
    """The runs that are to be made now, after all checks that need no computing, and by its folder what is refused;
    both are told.

    Raises:
        UserError: results cannot be written, a control lacks something, what is to be pushed cannot be, or what
            `check_before` raises.
    """
    on_main(lambda: check_results(planned))
    decisions = on_main(lambda: [(entry, decide(entry.experiment, entry.folder)) for entry in planned])
    pending = [entry for entry, decision in decisions if decision.run]
    problems = {
        entry.folder: decision.problem for entry, decision in decisions if decision.problem is not None
    }
    for problem in problems.values():
        print(printable(f"{problem.what}\n{problem.mend}"), file=sys.stderr)
    on_main(lambda: check_references(pending, planned))
    done = sum(
        not decision.run
        and decision.problem is None
        and decision.record is not None
        and decision.record.status is Status.completed
        for _, decision in decisions
    )
    announce(planned, len(pending), len(problems), done)
    for entry in pending:
        check_before(entry.experiment)
    on_main(lambda: check_push([entry for entry in planned if entry.folder not in problems]))
    return pending, problems


def _sweep(words: Sequence[str]) -> None:
    with watched_signals():
        sweep(words, job)


@contextmanager
def _named_sweep(request: Request) -> Iterator[None]:
    """Trackers group the runs of a sweep by its name; launchers hand the environment to their processes."""
    name = sweep_name(request)
    before = os.environ.get(SWEEP)
    if name:
        os.environ[SWEEP] = name
    try:
        yield
    finally:
        if name and before is None:
            del os.environ[SWEEP]
        elif before is not None:
            os.environ[SWEEP] = before


def _study(study: Study) -> tuple[bool, int]:
    """Run a study; whether all its trials were asked for, and how many of them were refused."""
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    with watched_signals(), _named_sweep(study.request), refusals_told() as refused:
        return sweep(study.words, trial), len(refused)


def _ask_hydra(words: Sequence[str]) -> int:
    """Questions that Hydra answers, about one run: of a suite the first. Names are checked first, for our own
    did-you-mean."""
    flags: list[str] = []
    rest: list[str] = []
    for word in words:
        answers = bool(flags) and flags[-1] in QUESTIONS
        (flags if answers or word.partition("=")[0] in PASSED_TO_HYDRA else rest).append(word)
    request = read_request(rest)
    if request.multirun:
        raise UserError("--cfg and --info are about one run", "leave out -m")
    if not is_studied(request):
        plan(request)
    ask([*flags, *request.flags, *words_of_first(request)], job)
    return 0


def job(config: DictConfig) -> float | None:
    """One run: skipped, resumed or run; returns its headline score (higher is not always better) for sweepers.

    Never raises for a failed run: the failure is recorded and printed, and the other runs of a sweep go on. What the
    plan left out Hydra asks for all the same; it is passed over.
    """
    return _job(config)


def trial(config: DictConfig) -> float | None:
    """As `job`, for a study: it needs the score, waits for it where another process makes the run, and raises
    RefusedTrialError where there can be none."""
    try:
        return _job(config, wait=True)
    except UserError as error:
        raise RefusedTrialError(f"{error.what}\n{error.mend}") from error


def _job(config: DictConfig, wait: bool = False, made: set[Path] | None = None) -> float | None:
    """`job`, but for what is in `made`: with rerun=all a record does not tell that this very command made the run.

    Args:
        config: what Hydra composed.
        wait: as of `trial`.
        made: folders of the runs that the command has completed; this one is added.
    """
    try:
        experiment = to_experiment(config)
    except UnsupportedError:
        if wait:
            raise
        return None
    folder = run_folder(experiment)
    if made is not None and folder in made:
        return None
    record, problem = _complete(experiment, command(experiment), wait)
    if wait and problem is not None:
        raise problem
    if made is not None and record is not None and record.status is Status.completed:
        made.add(folder)
    return headline(record)


def _complete(
    experiment: ExperimentConfig, command: str, wait: bool = False
) -> tuple[RunRecord | None, UserError | None]:
    """The record of a run, which is made if need be, or why it has none, which is told where nobody waits for it."""
    folder = run_folder(experiment)
    decision = on_main(lambda: decide(experiment, folder))
    if not decision.run:
        return decision.record, decision.problem
    try:
        check_before(experiment)  # a launcher may have started this process elsewhere
        with watched_signals():
            _wait_for_reference(experiment)
        with watched_signals(), owned(folder, wait):
            return _run(experiment, folder, command), None
    except UserError as error:
        if not wait:
            print(printable(f"{error.what}\n{error.mend}"), file=sys.stderr)
        return None, error


def _wait_for_reference(experiment: ExperimentConfig) -> None:
    """Wait while another process makes the run that a control is compared with, and has not found its ranks yet."""
    compared = reference(experiment)
    if compared is not None and not has_ranks(compared[1] / RECORD):
        on_main(lambda: wait_until_free(compared[1]))


def _run(experiment: ExperimentConfig, folder: Path, command: str) -> RunRecord | None:
    """Decide again, as another process may have come first, and run what is to be run."""
    decision = on_main(lambda: decide(experiment, folder))
    if not decision.run:
        return decision.record
    with for_good("autolora_bench.runner"):
        from autolora_bench.runner import run_experiment

    if decision.note:
        print(decision.note, file=sys.stderr)
    if decision.record is None:
        on_main(lambda: check_can_start(experiment))
    print(f"{label(experiment)}  ->  {folder}", file=sys.stderr, flush=True)
    record = run_experiment(experiment, folder, command, decision.record)
    show(record)
    return record


def command(experiment: ExperimentConfig) -> str:
    """The command that reproduces the running job, from Hydra's overrides of this very job."""
    config = HydraConfig.get()
    own = [source.path for source in config.runtime.config_sources if source.provider == "command-line"]
    flags = ["--config-dir", *own] if own else []
    return command_line(experiment, [*flags, *config.overrides.task])


def headline(record: RunRecord | None) -> float | None:
    """The headline score of the first evaluation split at the best epoch."""
    if record is None or record.headline is None or not record.best:
        return None
    return next(iter(record.best.values())).scores.get(record.headline)


def _check_known(planned: Sequence[PlannedRun]) -> None:
    """Raises UserError as `check_results`, or as `check_before` of a run that is to be made."""
    check_results(planned)
    for entry in planned:
        if decide(entry.experiment, entry.folder).run:
            check_before(entry.experiment)


def _check_study(study: Study) -> None:
    """Raises UserError as `check_results`, or as `check_before` where there are trials to be made."""
    check_results([PlannedRun(study.example, ())])
    try:
        check_before(study.example)
    except UserError:
        if study.example.rerun is Rerun.all or not study.is_completed:
            raise


def _tally(
    planned: Sequence[PlannedRun], pending: Sequence[PlannedRun], before: Mapping[Path, Written]
) -> int:
    """Say what is not completed; the exit status is about the runs that were to be done now.

    Args:
        before: the records of the completed runs that were to be done again.
    """
    states = [(entry, entry.state()) for entry in planned]
    unfinished = [(entry, state) for entry, state in states if state is not State.completed]
    if len(planned) > 1 or unfinished:
        tally = Counter(state for _, state in states)
        print(", ".join(f"{tally[state]} {state.value}" for state in State if tally[state]), file=sys.stderr)
    for entry, state in unfinished:
        owner = owner_of(entry.folder) if state is State.running else None
        by = f" by {owner}" if owner else ""
        print(f"  {state.value}{by}: {entry.command}", file=sys.stderr)
    kept = not_run_again(pending, before)
    for entry in kept:
        print(f"  not run again: {entry.command}", file=sys.stderr)
    return _exit_status([(entry, state) for entry, state in unfinished if entry in pending]) or (
        2 if kept else 0
    )


def _exit_status(unfinished: Sequence[tuple[PlannedRun, State]]) -> int:
    """0 when all is done, ELSEWHERE when nothing is left but what other processes are running, 2 when a user's mistake
    alone stands in the way, 1 otherwise."""
    if not unfinished:
        return 0
    left = [entry for entry, state in unfinished if state is not State.running]
    if not left:
        return ELSEWHERE
    records = [entry.record() for entry in left]
    mistakes = [r is not None and r.error is not None and r.error["type"] == "UserError" for r in records]
    return 2 if all(mistakes) else 1
