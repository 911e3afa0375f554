"""`autolora-bench check ...`: composes and validates every run, names missing data and weights, runs nothing."""

from collections.abc import Sequence
from pathlib import Path

from autolora_bench.commands.request import read_request
from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.trackers import check_trackers
from autolora_bench.errors import UserError
from autolora_bench.fair import planned_runs
from autolora_bench.plan import PlannedRun, missing_references


def run(words: Sequence[str]) -> int:
    """Print what would run and what is missing; exit status 2 where something is."""
    planned = planned_runs(read_request(words))
    problems = list(dict.fromkeys(problem for entry in planned for problem in missing(entry)))
    problems += missing_references(planned)
    notes = list(dict.fromkeys(note for entry in planned for note in from_hub(entry.experiment)))
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
    print(f"{len(planned)} runs, {len(problems)} problems")
    return 2 if problems else 0


def missing(entry: PlannedRun) -> list[str]:
    """What this run needs and this machine lacks."""
    return [problem for find in (_trackers, _data, _weights) for problem in find(entry.experiment)]


def from_hub(experiment: ExperimentConfig) -> list[str]:
    """What will be asked of the hub."""
    from autolora_bench.models.locate import locate

    notes = []
    if experiment.data.source is Source.hub and experiment.task.hub is not None:
        notes.append(f"data of {experiment.task.name} from the hub: {experiment.task.hub.path}")
    try:
        location = locate(experiment.model)
    except UserError:
        return notes
    if location.kind == "hub":
        notes.append(f"weights of {experiment.model.name} from the hub: {location.source}")
    return notes


def _trackers(experiment: ExperimentConfig) -> list[str]:
    try:
        check_trackers(experiment)
    except UserError as error:
        return [f"{error.what} ({error.mend})"]
    return []


def _data(experiment: ExperimentConfig) -> list[str]:
    source = experiment.task.local
    if experiment.data.source is not Source.local or source is None or experiment.data.dir is None:
        return []
    folder = Path(experiment.data.dir).expanduser()
    return [str(folder / name) for name in source.splits.values() if not (folder / name).exists()]


def _weights(experiment: ExperimentConfig) -> list[str]:
    from autolora_bench.models.locate import check_tokenizer_files, locate

    try:
        check_tokenizer_files(locate(experiment.model))
    except UserError as error:
        return [f"{error.what} ({error.mend})"]
    return []
