"""`autolora-bench report ...`: tables from the records, as text, or with every format and figure as a folder."""

from collections.abc import Sequence
from pathlib import Path

from autolora_bench.commands.request import read_request, split_options
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.sweep import Request, plan

OPTIONS = ("format", "epoch", "metrics", "title", "out", "merge", "published")
FILTERS = ("task", "model", "method", "seed")
RESULTS = "runs"


def run(words: Sequence[str]) -> int:
    """Print the report, or write it to out=DIR.

    With suite=NAME, -m or settings, the words are read as for a run, and what is missing of it is listed. With
    task=, model=, method= and seed= alone they choose among the records that are there.
    """
    options, rest = split_options(words, OPTIONS)
    request = read_request(rest)
    planned = plan(request) if _asks_for_runs(request) else None
    from autolora_bench.report.collect import collect
    from autolora_bench.report.command import report
    from autolora_bench.report.folder import write_report

    roots = [Path(folder).expanduser() for folder in options.pop("merge", "").split(",") if folder]
    collection = collect(_results(request, planned), roots)
    if planned is None:
        collection.records = [record for record in collection.records if _chosen(record, request)]
    options.setdefault("title", _title(request))
    out = options.pop("out", None)
    published = options.pop("published", None)
    source = Path(published).expanduser() if published else None
    if out is None:
        print(report(collection, planned, published=source, **options), end="")
        return 0
    options.pop("format", None)
    for path in write_report(Path(out).expanduser(), collection, planned, published=source, **options):
        print(path)
    return 0


def _asks_for_runs(request: Request) -> bool:
    names = {word.partition("=")[0] for word in request.overrides}
    return request.multirun or bool(names - {*FILTERS, "results"})


def _results(request: Request, planned: Sequence[PlannedRun] | None) -> Path:
    if planned:
        return Path(planned[0].experiment.results).expanduser()
    given = [value for name, _, value in (word.partition("=") for word in request.overrides) if name == "results"]
    return Path(given[-1] if given else RESULTS).expanduser()


def _chosen(record: RunRecord, request: Request) -> bool:
    wanted = {name: value.split(",") for name, _, value in (word.partition("=") for word in request.overrides)}
    return all(str(getattr(record, name)) in wanted[name] for name in FILTERS if name in wanted)


def _title(request: Request) -> str:
    suites = [word.partition("=")[2] for word in request.overrides if word.startswith("suite=")]
    return suites[-1] if suites else "Results"
