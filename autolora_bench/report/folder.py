"""A report as a folder: every format, every figure."""

import os
from collections.abc import Sequence
from pathlib import Path

from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord, write_atomically
from autolora_bench.report.collect import Collection
from autolora_bench.report.command import choose, prepare, render_page, scores
from autolora_bench.report.exhibits import Exhibits, exhibits
from autolora_bench.report.picture import Picture
from autolora_bench.report.plain import in_format

SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex"}


def write_report(
    folder: Path,
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    epoch: str = "best",
    metrics: str = "paper",
    title: str = "Results",
    published: Sequence[Path] = (),
    compare: Sequence[str] | None = None,
    figures: Sequence[str] = ("svg",),
) -> list[Path]:
    """Write scores, comparisons, costs and stability in every format, figures, and report.html.

    The same records give the same bytes. Arguments as `command.report`; `figures` names their formats, svg or png.

    Returns:
        The files, in the order a reader wants them.

    Raises:
        UserError: as `command.report`, or the folder cannot be written.
    """
    for form in figures:
        choose("figures", form, ("svg", "png"))
    prepared = prepare(
        records, planned, epoch=epoch, metrics=metrics, title=title, published=published, compare=compare
    )
    shown = exhibits(prepared.tables, prepared.collection.folders, prepared.movements)
    texts = {"report.html": render_page(prepared, shown)}
    texts |= {f"scores.{suffix}": scores(prepared, name) for name, suffix in SUFFIXES.items()}
    texts |= _texts(shown)
    for name, text in texts.items():
        write_atomically(folder / name, text)
    drawn = [
        path for picture in shown.pictures for path in _write_figure(folder / "figures", picture, figures)
    ]
    return [*(folder / name for name in texts), *drawn]


def _texts(shown: Exhibits) -> dict[str, str]:
    groups = {
        "comparisons": shown.comparisons,
        "cost": shown.costs,
        "stability": shown.stability,
        "movement": shown.movement,
    }
    suffixes = {**SUFFIXES, "json": "json"}
    return {
        f"{group}.{suffix}": in_format(tables, name)
        for group, tables in groups.items()
        if tables
        for name, suffix in suffixes.items()
    }


def _write_figure(folder: Path, picture: Picture, formats: Sequence[str]) -> list[Path]:
    paths = []
    for suffix in formats:
        content = picture.svg if suffix == "svg" else picture.png
        path = folder / f"{picture.name}.{suffix}"
        partial = path.with_name(f".{path.name}.partial")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            os.replace(partial, path)
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror or error}", "choose another folder: out=DIR"
            ) from error
        paths.append(path)
    write_atomically(folder / f"{picture.name}.txt", f"{picture.caption}\n\n{picture.alt}\n")
    return paths
