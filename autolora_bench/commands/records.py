"""Which records a report is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autolora_bench.commands.request import read_request, split_options
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.sweep import Request, plan

if TYPE_CHECKING:
    from autolora_bench.report.collect import Collection

FILTERS = ("task", "model", "method", "seed")
RESULTS = "runs"


@dataclass(frozen=True)
class Asked:
    """The records that were asked for."""

    collection: "Collection"
    planned: list[PlannedRun] | None
    """What was meant to be run; None where the words only choose among the records that are there."""
    title: str


def find_asked(words: Sequence[str]) -> Asked:
    """Read the records that `words` name.

    With suite=NAME, -m or settings, the words are read as for a run, and what is missing of it is known too. With
    task=, model=, method= and seed= alone they choose among the records that are there. merge=DIR,... adds other
    people's results.

    Raises:
        UserError: as `sweep.plan`, or a folder that is not there.
    """
    options, rest = split_options(words, ("merge",))
    request = read_request(rest)
    planned = plan(request) if _asks_for_runs(request) else None
    from autolora_bench.report.collect import collect

    roots = [Path(folder).expanduser() for folder in options.get("merge", "").split(",") if folder]
    collection = collect(_results(request, planned), roots)
    if planned is None:
        collection.records = [record for record in collection.records if _chosen(record, request)]
    return Asked(collection, planned, _title(request))


def _asks_for_runs(request: Request) -> bool:
    names = {word.partition("=")[0] for word in request.overrides}
    return request.multirun or bool(names - {*FILTERS, "results"})


def _results(request: Request, planned: Sequence[PlannedRun] | None) -> Path:
    if planned:
        return Path(planned[0].experiment.results).expanduser()
    given = [
        value for name, _, value in (word.partition("=") for word in request.overrides) if name == "results"
    ]
    return Path(given[-1] if given else RESULTS).expanduser()


def _chosen(record: RunRecord, request: Request) -> bool:
    wanted = {
        name: value.split(",") for name, _, value in (word.partition("=") for word in request.overrides)
    }
    return all(str(getattr(record, name)) in wanted[name] for name in FILTERS if name in wanted)


def _title(request: Request) -> str:
    suites = [word.partition("=")[2] for word in request.overrides if word.startswith("suite=")]
    return suites[-1] if suites else "Results"
