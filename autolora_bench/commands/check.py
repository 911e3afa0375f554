"""`autolora-bench check ...`: composes and validates every run, names what each would refuse, says how long all will
take; runs nothing."""

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from autolora_bench.commands.duration import duration_lines, read_rate
from autolora_bench.commands.options import COMMANDS, print_json, split_json, split_options
from autolora_bench.config.any_task import describe
from autolora_bench.config.computing import (
    FLASH_PACKAGE,
    check_accelerate,
    check_machine,
    check_processes,
    slow_arithmetic,
)
from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig, run_folder
from autolora_bench.config.identity import identity
from autolora_bench.config.memory import check_package
from autolora_bench.config.model import Attention
from autolora_bench.config.steps import expected_rows, trained_on
from autolora_bench.config.task import TABLES, RecoveryTask
from autolora_bench.config.trackers import check_trackers
from autolora_bench.errors import UserError, reason
from autolora_bench.ownership import LOCK
from autolora_bench.paths import RECORD
from autolora_bench.plan import PlannedRun, State, described, missing_references
from autolora_bench.push import check_push
from autolora_bench.request import read_request
from autolora_bench.rerun import decide
from autolora_bench.run_files import RUN, check_writable, link_error, link_in
from autolora_bench.sweeps.tuned_first import planned_runs
from autolora_bench.sweeps.tuned_settings import untied
from autolora_bench.tables.read import WILD

HYDRA_FOLDER = ".hydra"
"""Where below the results a sweep leaves what it was (`hydra.sweep.dir` in conf/config.yaml)."""


def run(words: Sequence[str]) -> int:
    """Print what would run, what is missing or refused, and how long it will take; exit status 2 where something is."""
    as_json, words = split_json(words)
    options, rest = split_options(words, COMMANDS["check"].options)
    rate = read_rate(options.get("rate"))
    planned = planned_runs(read_request(rest))
    problems = list(dict.fromkeys(problem for entry in planned for problem in missing(entry)))
    problems += missing_references(planned)
    try:
        check_push(planned)
    except UserError as error:
        problems.append(_line(error))
    notes = list(dict.fromkeys(note for entry in planned for note in notes_on(entry.experiment)))
    decisions = [(entry, decide(entry.experiment, entry.folder)) for entry in planned]
    problems += [_line(decision.problem) for _, decision in decisions if decision.problem is not None]
    read = [line for line in dict.fromkeys(describe(entry.experiment.task) for entry in planned) if line]
    pending = [
        entry for entry, decision in decisions if decision.run and entry.folder not in planned.given_up
    ]
    rows = {entry.folder: training_rows(entry.experiment) for entry in pending}
    time = list(duration_lines(pending, rows, rate))
    if as_json:
        runs = [described(entry, entry.state()) for entry in planned]
        found = {"left_out": planned.left_out, "later": planned.later, "notes": [*read, *notes], "time": time}
        print_json({"runs": runs, **found, "problems": problems})
        return 2 if problems else 0
    for line in read:
        print(line)
    for entry in planned:
        print(f"{entry.state().value:12}{entry.command}  ->  {entry.folder}")
    for line in planned.left_out:
        print(f"left out: {line}")
    for line in planned.later:
        print(f"later: {line}")
    for note in notes:
        print(f"note: {note}")
    for problem in problems:
        print(f"missing: {problem}")
    for line in time:
        print(line)
    print(f"{len(planned)} runs, {len(problems)} problems")
    return 2 if problems else 0


def missing(entry: PlannedRun) -> list[str]:
    """What this run needs and this machine lacks, and what the run would refuse of what there is."""
    found = []
    for check in CHECKS:
        try:
            check(entry.experiment)
        except UserError as error:
            found.append(_line(error))
    return found


def notes_on(experiment: ExperimentConfig) -> list[str]:
    """What a rate that is said leaves behind, what will be slow, and what will be asked of the hub."""
    from autolora_bench.models.locate import locate

    slow = slow_arithmetic(experiment) if experiment.device in ("cpu", "auto") else None
    notes = untied(experiment) + ([] if slow is None else [f"where it runs on this CPU: {slow}"])
    if experiment.data.source is Source.hub and experiment.task.hub is not None:
        notes.append(f"data of {experiment.task.name} from the hub: {experiment.task.hub.path}")
    try:
        location = locate(experiment.model)
    except UserError:
        return notes
    if location.kind == "hub":
        notes.append(f"weights of {experiment.model.name} from the hub: {location.source}")
    return notes


def training_rows(experiment: ExperimentConfig) -> int | None:
    """Examples that a run trains on: counted where the files are here, else as their publisher says, where it does."""
    local = experiment.data.source in (Source.local, Source.files)
    if not local or isinstance(experiment.task, RecoveryTask):
        return trained_on(experiment, expected_rows(experiment))
    try:
        rows = _read(experiment)
    except UserError:
        return None
    return trained_on(experiment, rows if experiment.data.limit is None else min(rows, experiment.data.limit))


def _line(error: UserError) -> str:
    return f"{error.what} ({error.mend})" if error.mend else error.what


def _check_data(experiment: ExperimentConfig) -> None:
    if experiment.data.source in (Source.local, Source.files):
        _read(experiment)
    elif experiment.data.source is Source.hub:
        from autolora_bench.data.hub_files import check_there

        check_there(experiment.task)


_found: dict[str, int | UserError] = {}
"""By what is read: the training examples of local files, or what is wrong with them."""


def _read(experiment: ExperimentConfig) -> int:
    """Read the local files of a run, all its splits, as the run would, once for all runs; how many train it."""
    task, data = experiment.task, experiment.data
    key = json.dumps([type(task).__name__, identity(task), data.dir, data.train])
    if key not in _found:
        from autolora_bench.data.local import read_local
        from autolora_bench.data.own import read_own
        from autolora_bench.data.schema import check_schema

        try:
            _check_files(experiment)
            loaded = read_local(task, data) if task.table is None else read_own(task, data)
            check_schema(task, loaded)
            _found[key] = len(next(iter(loaded.splits["train"].values())))
        except UserError as error:
            _found[key] = error
    found = _found[key]
    if isinstance(found, UserError):
        raise found
    return found


def _check_files(experiment: ExperimentConfig) -> None:
    """Raises UserError that names all files that are not there, not the first alone."""
    source, folder = experiment.task.local, Path(experiment.data.dir or "").expanduser()
    names = source.splits.values() if source is not None else ()
    patterns = source is not None and source.layout in TABLES
    lacking = [
        str(folder / name)
        for name in names
        if not (folder / name).exists() and not (patterns and any(letter in name for letter in WILD))
    ]
    if lacking:
        raise UserError(
            f"there is no {', no '.join(lacking)}",
            f"put them under data.dir={experiment.data.dir}, or name another",
        )


def _check_device(experiment: ExperimentConfig) -> None:
    """Of runs that are for an accelerator alone: asking for one takes torch, and its seconds."""
    flash = experiment.model.attention is Attention.flash_attention_2 and find_spec(FLASH_PACKAGE) is not None
    if flash or experiment.device not in ("auto", "cpu"):
        from autolora_bench import devices

        devices.device(experiment)


def _check_model(experiment: ExperimentConfig) -> None:
    from autolora_bench.models.preflight import check_all_blocks, check_model, check_ranks

    check_model(experiment)
    check_all_blocks(experiment)
    check_ranks(experiment)


def _check_folder(experiment: ExperimentConfig) -> None:
    """Raises UserError where something else is at the place of a run's folder, of one in it, or of a file in it."""
    folder, results = run_folder(experiment), Path(experiment.results).expanduser()
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists() or path == results)
        if there != results and not there.is_dir():
            raise UserError(
                f"{there} is a file, and a run has a folder of that name",
                "move it away, or choose another folder with results=DIR",
            )
        for path in sorted(folder.iterdir()) if there == folder else ():
            if path.is_dir() and path.name != RECORD and (path.name == LOCK or RUN.owns(path.name)):
                raise UserError(f"{path} is a folder, and a run writes a file of that name", "move it away")
            if path.name == LOCK and path.exists() and not path.is_file():
                raise UserError(f"{path} is not a file, so that it cannot be a lock", "remove it")
            if path.is_file() and RUN.inside(path.name) is not None:
                raise UserError(f"{path} is a file, and a run's folders have such names", "move it away")
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {reason(error)}", "choose another folder with results=DIR"
        ) from error


Check = Callable[[ExperimentConfig], None]
"""Raises UserError where a run cannot be."""
AT_ONCE: tuple[Check, ...] = (check_trackers, check_package, check_machine, check_accelerate)
"""What takes no time, so that every run is asked it too."""
BEFORE_A_RUN: tuple[Check, ...] = (*AT_ONCE, check_processes)
"""What a whole command is asked once, and again every process that makes a run. `check` is one process, however many
will make it."""
CHECKS: tuple[Check, ...] = (
    *AT_ONCE,
    _check_device,
    lambda experiment: check_writable(experiment.results, make=False),
    _check_folder,
    _check_data,
    _check_model,
)


def check_results(planned: Sequence[PlannedRun]) -> None:
    """Raises UserError where a results folder cannot be written, before anything is computed; a sweep's own file is
    written behind no link either."""
    for results in {entry.experiment.results for entry in planned}:
        check_writable(results, make=True)
        root = Path(results).expanduser()
        link = link_in(root, root / HYDRA_FOLDER)
        if link is not None:
            raise link_error(link)


def check_before(experiment: ExperimentConfig) -> None:
    """Raises UserError where this machine, its variables or these processes are not what a run asks for; it imports
    nothing and takes no time."""
    for check in BEFORE_A_RUN:
        check(experiment)


def check_can_start(experiment: ExperimentConfig) -> None:
    """Raises UserError where a completed record would be given up for nothing: this machine lacks the device, the data
    or the weights."""
    entry = PlannedRun(experiment, ())
    if entry.state() is not State.completed:
        return
    from autolora_bench import devices

    problems = missing(entry)
    if problems:
        raise UserError(
            f"missing: {problems[0]}", f"nothing was run, and the record in {entry.folder} is as it was"
        )
    devices.device(experiment)
