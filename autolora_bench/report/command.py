"""What the command line calls: a report as text, or as a folder with every format and figure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autolora_bench.config.choices import choices, nearest
from autolora_bench.config.experiment import COMPARE
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.report.aggregate import tables_of
from autolora_bench.report.collect import Collection, legible
from autolora_bench.report.comparisons import comparisons
from autolora_bench.report.cost import cost_tables
from autolora_bench.report.cost_report import cost_reports
from autolora_bench.report.entries import Entry, entries_of, unasked
from autolora_bench.report.latex import latex
from autolora_bench.report.markdown import markdown
from autolora_bench.report.movement import CellMovement, cell_movements, movement_table, movement_warnings
from autolora_bench.report.numerals import plural
from autolora_bench.report.page import page
from autolora_bench.report.plain import PlainTable, in_format
from autolora_bench.report.published import read_published
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.stability_report import cell_stabilities, stability_report
from autolora_bench.report.tidy import tidy

if TYPE_CHECKING:
    from autolora_bench.report.exhibits import Exhibits

FORMATS = ("markdown", "latex", "csv", "html")
EPOCHS = ("best", "last", "both")
METRICS = ("headline", "paper", "all")
SAID = 5
"""So many ways in which records differ from what was asked for are named."""


@dataclass(frozen=True)
class Report:
    """Everything a report shows, before it takes a format."""

    title: str
    entries: list[Entry]
    tables: list[Table]
    remarks: list[str]
    collection: Collection
    movements: list[CellMovement]


def prepare(
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    epoch: str = "best",
    metrics: str = "paper",
    title: str = "Results",
    published: Sequence[Path] = (),
    compare: Sequence[str] | None = None,
) -> Report:
    """Tables and remarks. Arguments and errors as `report`."""
    choose("epoch", epoch, EPOCHS)
    choose("metrics", metrics, METRICS)
    collection = (
        records
        if isinstance(records, Collection)
        else Collection(records=[legible(record) for record in records])
    )
    entries, outside = entries_of(collection.records, planned, collection.unreadable)
    if not entries:
        raise UserError(
            "there is nothing to report: no record was found", "run something, or say where: results=DIR"
        )
    family = _family(compare, entries, planned)
    tables = tables_of(
        entries, read_published(*published), epoch=epoch, metrics=metrics, title=title, compare=family
    )
    movements = cell_movements(tables, collection.folders)
    remarks = [*_remarks(collection, outside, planned or ()), *movement_warnings(movements)]
    return Report(title, entries, tables, remarks, collection, movements)


def report(
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    format: str = "markdown",
    epoch: str = "best",
    metrics: str = "paper",
    title: str = "Results",
    published: Sequence[Path] = (),
    compare: Sequence[str] | None = None,
    figures: bool = True,
) -> str:
    """The report as text.

    Args:
        records: what `collect` found; plain records do as well, without figures that need a run's folder.
        planned: what was meant to be run; only these runs are shown, and gaps are listed with their commands.
        format: markdown, latex, csv or html (one self-contained page with figures).
        epoch: best, last or both, for splits that are scored after every epoch.
        metrics: `headline`, `all`, or `paper`, which adds what published tables hold.
        title: heading.
        published: CSV files of published values; none takes the project's own.
        compare: the comparisons that are tested and corrected together, `method:other`; None takes what the plan's
            suite declares, without a plan AutoLoRA against LoRA and its controls.
        figures: whether a page holds figures and further tables, which take seconds to draw.

    Raises:
        UserError: nothing to report, an unknown choice, or a malformed file of published values.
    """
    choose("format", format, FORMATS)
    prepared = prepare(
        records, planned, epoch=epoch, metrics=metrics, title=title, published=published, compare=compare
    )
    return render(prepared, format, figures=figures)


def render(prepared: Report, format: str, *, figures: bool = True) -> str:
    """The report in one format."""
    if format == "html":
        return render_page(prepared, _exhibits(prepared) if figures else None)
    moved = movement_table(prepared.movements)
    further = [
        *comparisons(prepared.tables),
        *cost_reports(cost_tables(prepared.tables)),
        *filter(None, [moved]),
    ]
    return scores(prepared, format, further)


def scores(prepared: Report, format: str, further: Sequence[PlainTable] = ()) -> str:
    """The score tables and what follows them as markdown, latex or csv, which holds a line per score and no more."""
    if format == "csv":
        return tidy(prepared.tables)
    write = {"markdown": markdown, "latex": latex}[format]
    return write(prepared.tables, prepared.remarks, [getattr(table, format)() for table in further])


def _exhibits(prepared: Report) -> "Exhibits":
    """What needs figures; loading their library takes most of a text report's second."""
    from autolora_bench.report.exhibits import exhibits

    return exhibits(prepared.tables, prepared.collection.folders, prepared.movements)


def render_page(prepared: Report, shown: "Exhibits | None") -> str:
    """The page, with figures and further tables if there are any."""
    problems = shown.problems if shown else []
    return page(
        prepared.tables,
        prepared.entries,
        title=prepared.title,
        pictures=shown.for_page if shown else [],
        extra=shown.tables if shown else [],
        remarks=[*prepared.remarks, *(f"UNREADABLE {problem}" for problem in problems)],
    )


def report_stability(
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    format: str = "markdown",
    title: str = "Results",
) -> str:
    """Stability of the rank search over the seeds of every cell, as text.

    Args:
        records: what `collect` found; the search's artefacts are read from the runs' folders.
        planned: as for `report`.
        format: markdown, csv, json, html or latex.
        title: heading of the study.

    Raises:
        UserError: nothing to report, an unknown format, or no run left a search result.
    """
    choose("format", format, ("markdown", "csv", "json", "html", "latex"))
    prepared = prepare(records, planned, title=title)
    table = stability_report(*cell_stabilities(prepared.tables, prepared.collection.folders))
    if table is None:
        raise UserError(
            "no run left a search result", "run method=autolora with several seeds: -m seed=0,1,2"
        )
    return in_format([table, *filter(None, [movement_table(prepared.movements)])], format)


def _family(
    compare: Sequence[str] | None, entries: Sequence[Entry], planned: Sequence[PlannedRun] | None
) -> Sequence[str]:
    """The comparisons to test. Raises UserError where one is not `method:other` or names a method that is none."""
    if compare is None:
        return planned[0].experiment.compare if planned else COMPARE
    known = [*choices("method", [conf_dir()]), *(entry.method for entry in entries)]
    for text in compare:
        for method in text.split(":"):
            if text.count(":") != 1 or method not in known:
                raise UserError(
                    f"compare={text} is no comparison of two methods",
                    f"{nearest(method, known)}write method:other, as in compare=autolora:lora,autolora:adalora",
                )
    return compare


def _remarks(
    collection: Collection, outside: Sequence[RunRecord], planned: Sequence[PlannedRun]
) -> list[str]:
    remarks = [f"CONFLICT {conflict}" for conflict in collection.conflicts]
    remarks += [f"UNREADABLE {item}" for item in collection.unreadable]
    if collection.duplicates:
        remarks.append(
            f"{plural(collection.duplicates, 'record')} met twice with equal scores, counted once."
        )
    if outside:
        near = Counter(filter(None, (unasked(record, planned) for record in outside)))
        told = "".join(f"; {plural(count, 'record')} with {what}" for what, count in near.most_common(SAID))
        remarks.append(f"{plural(len(outside), 'record')} found that this report does not ask for{told}.")
    return remarks


def choose(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises UserError where `value` is none of the choices."""
    if value not in choices:
        raise UserError(f"{name}={value} is not known", f"choose among: {', '.join(choices)}")
