"""A report from records: as text in one format, or as a folder with every format, every figure and a page."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord, write_atomically
from autolora_bench.report.arena_tables import arena_csv
from autolora_bench.report.collect import Collection
from autolora_bench.report.costs import cost_reports
from autolora_bench.report.formats import PlainTable, in_format, latex, markdown, plain_json
from autolora_bench.report.prepared import Exhibits, Report, choose, prepare
from autolora_bench.report.stability import cell_stabilities, stability_report
from autolora_bench.report.tidy_csv import score_lines, tidy
from autolora_bench.untrusted import printable

if TYPE_CHECKING:
    from autolora_bench.report.figures.style import Picture

FORMATS = ("markdown", "latex", "csv", "html", "json")
SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex", "json": "json"}
GROUPS = ("scores", "arena", "rates", "comparisons", "cost", "stability", "agreement", "movement")
"""What files of tables are called."""
OUT = "out=DIR"
"""The words that choose another folder."""


def render(prepared: Report, format: str, *, figures: bool = True) -> str:
    """The report in one format of `FORMATS`; `figures`: whether a page holds figures, which take seconds to draw."""
    choose("format", format, FORMATS)
    if format == "html":
        from autolora_bench.report.page import page

        return page(prepared, exhibits(prepared) if figures else None)
    return scores(prepared, format, prepared.further)


def scores(prepared: Report, format: str, further: Sequence[PlainTable] = ()) -> str:
    """The score tables and what stands around them as markdown, latex or json; as csv a line per score and no more."""
    if format == "csv":
        parts = [arena_csv(prepared.arenas)] if prepared.arenas else []
        return "\n".join([*parts, *([tidy(prepared.tables)] if prepared.tables or not parts else [])])
    if format == "json":
        tables = [plain_json(table) for table in [*prepared.first, *further]]
        found = {"title": prepared.title, "scores": score_lines(prepared.tables), "tables": tables}
        return json.dumps({**found, "remarks": prepared.remarks}, indent=1, ensure_ascii=False) + "\n"
    write = {"markdown": markdown, "latex": latex}[format]
    return write(prepared.tables, prepared.remarks, further, prepared.first)


def exhibits(prepared: Report) -> Exhibits:
    """Figures and stability; the library of figures is loaded here, for it takes longer than a text report."""
    from autolora_bench.report.figures.arena import arena_figures
    from autolora_bench.report.figures.costs import cost_figures
    from autolora_bench.report.figures.quality import curve_figures, pareto_figures, rate_figures
    from autolora_bench.report.figures.ranks import rank_figures
    from autolora_bench.report.figures.reuse import report_key, reused
    from autolora_bench.report.figures.searches import (
        estimator_figures,
        stability_figures,
        trajectory_figures,
    )
    from autolora_bench.report.figures.style import named_apart

    cells, problems = cell_stabilities(prepared.tables, prepared.collection.folders)
    trajectories, more = trajectory_figures(prepared.tables, prepared.collection.folders)
    key = report_key(prepared.collection, prepared.planned, prepared.asked, prepared.published)
    figures = [
        *arena_figures(prepared.arenas),
        *rate_figures(prepared.tuned),
        *pareto_figures(prepared.tables),
        *cost_figures(prepared.costs),
        *rank_figures(prepared.tables),
        *stability_figures(cells),
        *estimator_figures(prepared.tables),
        *curve_figures(prepared.tables),
    ]
    return Exhibits(
        stability=list(filter(None, [stability_report(cells)])),
        figures=reused(named_apart(figures), key),
        trajectories=reused(named_apart(trajectories), key),
        problems=[*problems, *more],
    )


def report_stability(
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    format: str = "markdown",
    title: str = "Results",
) -> str:
    """Stability of the rank search over the seeds of every cell, agreement of the ranks of any method, and how far each
    search moved, as text.

    Args:
        records: what `collect` found; the search's artefacts are read from the runs' folders.
        planned: as for `prepare`.
        format: markdown, csv, json, html or latex.
        title: heading of the study.

    Raises:
        UserError: nothing to report, an unknown format, or no method gave layers different ranks with two seeds.
    """
    choose("format", format, ("markdown", "csv", "json", "html", "latex"))
    prepared = prepare(records, planned, title=title, arena=False)
    table = stability_report(*cell_stabilities(prepared.tables, prepared.collection.folders))
    found = [*filter(None, [table]), *prepared.agreement]
    if not found:
        raise UserError(
            "no two seeds of a method that gives layers different ranks are here",
            "run method=autolora with several seeds: -m seed=0,1,2",
        )
    return plainly([*found, *prepared.moved], format)


def plainly(tables: Sequence[PlainTable], format: str) -> str:
    """Tables of texts in one of the formats."""
    if format == "html":
        from autolora_bench.report.page import fragment

        return "\n".join(map(fragment, tables))
    return in_format(tables, format)


def write_report(folder: Path, prepared: Report, figures: Sequence[str] = ("svg",)) -> list[Path]:
    """Write the arena, scores, comparisons, costs, stability, agreement of ranks and movement in every format, figures
    (of these formats, svg or png), and report.html.

    The same records give the same bytes.

    Returns:
        The files, in the order a reader wants them.

    Raises:
        UserError: the folder cannot be written.
    """
    from autolora_bench.report.page import page

    for form in figures:
        choose("figures", form, ("svg", "png"))
    shown = exhibits(prepared)
    texts = {"report.html": page(prepared, shown)}
    if prepared.tables:
        own = replace(prepared, arenas=[])
        texts |= {
            f"scores.{SUFFIXES[name]}": scores(own, name) for name in ("markdown", "csv", "latex", "json")
        }
    groups = {
        "arena": prepared.first,
        "rates": prepared.rates,
        "comparisons": prepared.comparisons,
        "cost": cost_reports(prepared.costs),
        "stability": shown.stability,
        "agreement": prepared.agreement,
        "movement": prepared.moved,
    }
    texts |= {
        f"{group}.{suffix}": in_format(tables, name)
        for group, tables in groups.items()
        for name, suffix in SUFFIXES.items()
        if tables
    }
    if prepared.arenas:
        texts["arena.csv"] = arena_csv(prepared.arenas)
    for name, text in texts.items():
        write_atomically(folder / name, printable(text), OUT)
    pictures = [*shown.figures, *shown.trajectories]
    drawn = [path for picture in pictures for path in _write_figure(folder / "figures", picture, figures)]
    return [*(folder / name for name in texts), *drawn]


def left_over(folder: Path, written: Sequence[Path]) -> list[Path]:
    """Files in a report's folder that have the name of a report's and were not written with `written`: an earlier one's
    tables and figures, which may be of other records."""
    own = {*written, *(path.with_suffix(".txt") for path in written if path.parent != folder)}
    tables = [folder / f"{group}.{suffix}" for group in GROUPS for suffix in SUFFIXES.values()]
    drawn = [path for path in sorted(folder.glob("figures/*")) if path.suffix in (".svg", ".png", ".txt")]
    return [path for path in (*tables, *drawn) if path not in own and path.is_file()]


def _write_figure(folder: Path, picture: "Picture", formats: Sequence[str]) -> list[Path]:
    paths = [folder / f"{picture.name}.{suffix}" for suffix in formats]
    for path, suffix in zip(paths, formats, strict=True):
        write_atomically(path, picture.svg if suffix == "svg" else picture.png, OUT)
    write_atomically(folder / f"{picture.name}.txt", f"{picture.caption}\n\n{picture.alt}\n", OUT)
    return paths
