"""A report as a folder: every table in every format, every figure, and the page."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord, write_atomically
from autolora_bench.report.arena_tables import arena_csv
from autolora_bench.report.build import choose, exhibits, page_of, prepare, scores
from autolora_bench.report.collect import Collection
from autolora_bench.report.costs import cost_reports
from autolora_bench.report.formats import in_format
from autolora_bench.untrusted import printable

if TYPE_CHECKING:
    from autolora_bench.report.figures.style import Picture

SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex", "json": "json"}
GROUPS = ("scores", "arena", "rates", "comparisons", "cost", "stability", "agreement", "movement")
"""What files of tables are called."""
OUT = "out=DIR"
"""The words that choose another folder."""


def write_report(
    folder: Path,
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    epoch: str | None = None,
    metrics: str = "paper",
    title: str = "Results",
    published: Sequence[Path] = (),
    compare: Sequence[str] | None = None,
    figures: Sequence[str] = ("svg",),
) -> list[Path]:
    """Write the arena, scores, comparisons, costs, stability, agreement of ranks and movement in every format, figures,
    and report.html.

    The same records give the same bytes. Arguments as `report`; `figures` names their formats, svg or png.

    Returns:
        The files, in the order a reader wants them.

    Raises:
        UserError: as `report`, or the folder cannot be written.
    """
    for form in figures:
        choose("figures", form, ("svg", "png"))
    prepared = prepare(
        records, planned, epoch=epoch, metrics=metrics, title=title, published=published, compare=compare
    )
    shown = exhibits(prepared)
    texts = {"report.html": page_of(prepared, shown)}
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
