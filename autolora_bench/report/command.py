"""What the command line calls: a report as text, or as a folder with every format and figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.report.aggregate import tables_of
from autolora_bench.report.collect import Collection
from autolora_bench.report.entries import Entry, entries_of
from autolora_bench.report.latex import latex
from autolora_bench.report.markdown import markdown
from autolora_bench.report.numerals import plural
from autolora_bench.report.page import page
from autolora_bench.report.published import read_published
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.tidy import tidy

FORMATS = ("markdown", "latex", "csv", "html")
EPOCHS = ("best", "last", "both")
METRICS = ("headline", "paper", "all")


@dataclass(frozen=True)
class Report:
    """Everything a report shows, before it takes a format."""

    title: str
    entries: list[Entry]
    tables: list[Table]
    remarks: list[str]
    collection: Collection


def prepare(
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    epoch: str = "best",
    metrics: str = "paper",
    title: str = "Results",
    published: Path | None = None,
) -> Report:
    """Tables and remarks. Arguments and errors as `report`."""
    _choose("epoch", epoch, EPOCHS)
    _choose("metrics", metrics, METRICS)
    collection = records if isinstance(records, Collection) else Collection(records=list(records))
    entries, outside = entries_of(collection.records, planned, collection.unreadable)
    if not entries:
        raise UserError(
            "there is nothing to report: no record was found", "run something, or say where: results=DIR"
        )
    tables = tables_of(entries, read_published(published), epoch=epoch, metrics=metrics, title=title)
    return Report(title, entries, tables, _remarks(collection, outside), collection)


def report(
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    format: str = "markdown",
    epoch: str = "best",
    metrics: str = "paper",
    title: str = "Results",
    published: Path | None = None,
) -> str:
    """The report as text.

    Args:
        records: what `collect` found; plain records do as well, without figures that need a run's folder.
        planned: what was meant to be run; only these runs are shown, and gaps are listed with their commands.
        format: markdown, latex, csv or html (one self-contained page with figures).
        epoch: best, last or both, for splits that are scored after every epoch.
        metrics: `headline`, `all`, or `paper`, which adds what published tables hold.
        title: heading.
        published: CSV file of published values; none takes the project's own.

    Raises:
        UserError: nothing to report, an unknown choice, or a malformed file of published values.
    """
    _choose("format", format, FORMATS)
    prepared = prepare(records, planned, epoch=epoch, metrics=metrics, title=title, published=published)
    return render(prepared, format)


def render(prepared: Report, format: str) -> str:
    """The report in one format."""
    if format == "html":
        return page(prepared.tables, prepared.entries, title=prepared.title, remarks=prepared.remarks)
    if format == "csv":
        return tidy(prepared.tables)
    return {"markdown": markdown, "latex": latex}[format](prepared.tables, prepared.remarks)


def _remarks(collection: Collection, outside: int) -> list[str]:
    remarks = [f"CONFLICT {conflict}" for conflict in collection.conflicts]
    remarks += [f"UNREADABLE {item}" for item in collection.unreadable]
    if collection.duplicates:
        remarks.append(
            f"{plural(collection.duplicates, 'record')} met twice with equal scores, counted once."
        )
    if outside:
        remarks.append(f"{plural(outside, 'record')} found that this report does not ask for.")
    return remarks


def _choose(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"{name}={value} is not known", f"choose among: {', '.join(choices)}")
