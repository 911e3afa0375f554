"""Which records a report is about."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autolora_bench.commands.options import SOURCES, split_options
from autolora_bench.errors import UserError, nearest
from autolora_bench.request import Request, read_request

if TYPE_CHECKING:
    from autolora_bench.plan import PlannedRun
    from autolora_bench.record import RunRecord
    from autolora_bench.report.collect import Collection

FILTERS = ("task", "model", "method", "data", "seed")
RESULTS = "runs"
RUNS = ("suite=", "data.train=", "data.name=")
"""Words that make a request for runs."""


@dataclass(frozen=True)
class Asked:
    """The records that were asked for."""

    collection: "Collection"
    planned: "list[PlannedRun] | None"
    """What was meant to be run; None where the words only choose among the records that are there."""
    title: str


def find_asked(words: Sequence[str]) -> Asked:
    """Read the records that `words` name.

    With suite=NAME or -m the words are read as for a run, and what is missing of it is known too. Without, task=,
    model=, method=, data= and seed= choose among the records that are there. records=DIR,... are read instead of the
    results folder, merge=DIR,... beside it: other people's results, or what `autolora-bench records` wrote.

    Raises:
        UserError: as `expansion.plan`; a folder that is not there, a word that chooses nothing, a name no record has.
    """
    options, rest = split_options(words, SOURCES)
    request = replace(read_request(rest), reads_data=False)
    planned = None
    if _asks_for_runs(request):
        from autolora_bench.sweeps.tuned_first import (  # Hydra, which records alone do without
            is_fair,
            planned_runs,
        )

        if "records" in options and is_fair(request):
            raise UserError(
                f"records={options['records']} with a suite that tunes first: which runs it has follows from the "
                "records in its results folder",
                f"say results={options['records']}, or leave the suite out",
            )
        planned = planned_runs(request)
        for line in planned.left_out:
            print(f"left out: {line}", file=sys.stderr)
        for line in planned.later:
            print(f"later: {line}", file=sys.stderr)
    else:
        _check_names(request)
    from autolora_bench.report.collect import collect, no_records

    folders = _folders(options.get("records", "")) or _results(request, planned)
    collection = collect(*folders, *_folders(options.get("merge", "")))
    if planned is None:
        if not collection.records and (collection.unreadable or collection.links):
            raise no_records(collection)
        collection.records = _choose(collection.records, request)
    else:
        _tell_other_data(planned, collection.records)
    return Asked(collection, planned, _title(request))


def _folders(words: str) -> list[Path]:
    """The folders between commas, or the one whose name has them."""
    whole = Path(words).expanduser()
    if "," in words and os.path.isdir(whole):  # unlike Path.is_dir, of a name of any length
        return [whole]
    return [Path(folder).expanduser() for folder in words.split(",") if folder]


def _asks_for_runs(request: Request) -> bool:
    """Whether the words say what was to be run: data of the user's own are said, not chosen among records."""
    return request.multirun or any(word.startswith(RUNS) for word in request.overrides)


def _results(request: Request, planned: "Sequence[PlannedRun] | None") -> list[Path]:
    """The folders of the runs; none where nothing of what was meant to be run has been started yet."""
    if planned:
        folders = dict.fromkeys(Path(entry.experiment.results).expanduser() for entry in planned)
        return [folder for folder in folders if folder.exists()]
    given = [
        value for name, _, value in (word.partition("=") for word in request.overrides) if name == "results"
    ]
    return [Path(given[-1] if given else RESULTS).expanduser()]


def _check_names(request: Request) -> None:
    for name, _, value in (word.partition("=") for word in request.overrides):
        if name not in (*FILTERS, "results"):
            raise UserError(
                f"{name}={value} does not choose among records",
                f"{nearest(name, [*FILTERS, 'results', 'suite'])}choose by {', '.join(FILTERS)}; "
                "suite=NAME or -m shows what was meant to be run",
            )


def _choose(records: "Sequence[RunRecord]", request: Request) -> "list[RunRecord]":
    found = list(records)
    for name, _, value in (word.partition("=") for word in request.overrides):
        if name == "results":
            continue
        known = sorted({_value(record, name) for record in records})
        for wanted in value.split(","):
            if wanted not in known:
                raise UserError(
                    f"no record has {name}={wanted}",
                    f"{nearest(wanted, known)}there are: {', '.join(known) or 'none'}",
                )
        found = [record for record in found if _value(record, name) in value.split(",")]
    return found


def _value(record: "RunRecord", name: str) -> str:
    return str(record.config["data"]["source"] if name == "data" else getattr(record, name))


def _tell_other_data(planned: "Sequence[PlannedRun]", records: "Sequence[RunRecord]") -> None:
    """Say where records of the very cells are there, but of data from another source than is asked for."""
    wanted = {entry.identity for entry in planned}
    cells = {(*identity[:3], identity[4]) for identity in wanted}
    others = Counter(
        _value(record, "data")
        for record in records
        if record.identity not in wanted and (*record.identity[:3], record.seed) in cells
    )
    asked = {entry.experiment.data.source.name for entry in planned}
    for source, count in sorted(others.items()):
        if source not in asked:
            print(
                f"note: {count} records of these cells are of data={source}, which is another experiment than "
                f"data={', '.join(sorted(asked))}: data={source} asks for them",
                file=sys.stderr,
            )


def _title(request: Request) -> str:
    suites = [word.partition("=")[2] for word in request.overrides if word.startswith("suite=")]
    return suites[-1] if suites else "Results"
