"""`autolora-bench status ...`: how far the runs of a command or a suite are."""

import glob
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from autolora_bench.commands.options import print_json, split_json
from autolora_bench.config.experiment import ExperimentConfig, experiment_identity
from autolora_bench.config.registry import kind_of, metric_digests
from autolora_bench.errors import UserError
from autolora_bench.paths import RECORD
from autolora_bench.plan import PlannedRun, State, described
from autolora_bench.record import RunRecord, Status, read_record
from autolora_bench.request import read_request
from autolora_bench.sweeps.tuned_first import planned_runs
from autolora_bench.untrusted import printable


def run(words: Sequence[str]) -> int:
    """Print a line per unfinished run with the command that finishes it, then the tally."""
    as_json, words = split_json(words)
    planned = planned_runs(replace(read_request(words), reads_data=False))
    states = [(entry, entry.state()) for entry in planned]
    if as_json:
        runs = [described(entry, state) for entry, state in states]
        print_json({"runs": runs, "left_out": planned.left_out, "later": planned.later})
        return 0
    for entry, state in states:
        if state is not State.completed and entry.folder not in planned.given_up:
            print(printable(f"{state.value:12}{entry.command}"))
    for line in planned.left_out:
        print(f"left out: {line}")
    for line in planned.later:
        print(f"later: {line}")
    tally = Counter(state for entry, state in states if entry.folder not in planned.given_up)
    told = [f"{tally[state]} {state.value}" for state in State if tally[state]]
    told += [f"{len(planned.given_up)} of a rate that diverged"] if planned.given_up else []
    print(f"{len(planned)} runs: {', '.join(told)}")
    _tell_other_versions([entry for entry, state in states if state is State.missing])
    return 0


def _tell_other_versions(missing: Sequence[PlannedRun]) -> None:
    """Say which of the runs are there, but made with other versions of the user's own files."""
    changed: dict[str, None] = {}
    count = 0
    for entry in missing:
        if record := _other_version(entry):
            count += 1
            ours, theirs = _own_files(entry.experiment), _files_of(record)
            changed |= {name: None for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)}
    if count:
        print(
            f"note: {count} of the missing ones are completed with other versions of your own files "
            f"({printable(', '.join(changed))}), which are other runs: reports show each version as a row of its own"
        )


def _other_version(entry: PlannedRun) -> RunRecord | None:
    """A completed record that differs from a run in nothing but the versions of the user's own files."""
    experiment, folder = entry.experiment, entry.folder
    if experiment.method.code is None and experiment.task.code is None:
        return None
    asked = _without_versions(experiment_identity(experiment))
    cells = f"{glob.escape(experiment.method.name)}-*/{folder.name}/{RECORD}"
    for path in sorted(folder.parent.parent.glob(cells)):
        with suppress(UserError):
            record = read_record(path)
            if record.status is Status.completed and _without_versions(record.config) == asked:
                return record
    return None


def _without_versions(config: dict[str, Any]) -> dict[str, Any]:
    nodes = {name: node for name in ("method", "task") if isinstance(node := config.get(name), dict)}
    return config | {name: {k: v for k, v in node.items() if k != "code"} for name, node in nodes.items()}


def _own_files(experiment: ExperimentConfig) -> dict[str, str]:
    """File of the user's own -> SHA-256, now."""
    found = dict(kind_of(experiment.method).digests)
    for metric in experiment.task.metrics:
        found |= metric_digests.get(metric, {})
    return found


def _files_of(record: RunRecord) -> dict[str, str]:
    """The same, when the record was made."""
    metrics = record.provenance.get("metrics")
    said = [record.provenance.get("method"), *(metrics.values() if isinstance(metrics, dict) else ())]
    files = [one.get("files") for one in said if isinstance(one, dict)]
    return {str(name): str(digest) for one in files if isinstance(one, dict) for name, digest in one.items()}
