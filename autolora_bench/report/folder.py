"""A report as a folder: every format, every figure."""

import os
from collections.abc import Sequence
from pathlib import Path

from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord, write_atomically
from autolora_bench.report.collect import Collection
from autolora_bench.report.command import prepare, render_page, scores
from autolora_bench.report.exhibits import Exhibits, exhibits
from autolora_bench.report.picture import Picture
from autolora_bench.report.plain import in_format
from autolora_bench.untrusted import printable

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
) -> list[Path]:
    """Write scores, comparisons, costs and stability in every format, figures as SVG and PNG, and report.html.

    The same records give the same bytes. Arguments as `command.report`.

    Returns:
        The files, in the order a reader wants them.

    Raises:
        UserError: as `command.report`, or the folder cannot be written.
    """
    prepared = prepare(records, planned, epoch=epoch, metrics=metrics, title=title, published=published)
    shown = exhibits(prepared.tables, prepared.collection.folders)
    texts = {"report.html": render_page(prepared, shown)}
    texts |= {f"scores.{suffix}": scores(prepared, name) for name, suffix in SUFFIXES.items()}
    texts |= _texts(shown)
    for name, text in texts.items():
        write_atomically(folder / name, printable(text))
    figures = [path for picture in shown.pictures for path in _write_figure(folder / "figures", picture)]
    return [*(folder / name for name in texts), *figures]


def _texts(shown: Exhibits) -> dict[str, str]:
    groups = {"comparisons": shown.comparisons, "cost": shown.costs, "stability": shown.stability}
    suffixes = {**SUFFIXES, "json": "json"}
    return {
        f"{group}.{suffix}": in_format(tables, name)
        for group, tables in groups.items()
        if tables
        for name, suffix in suffixes.items()
    }


def _write_figure(folder: Path, picture: Picture) -> list[Path]:
    paths = []
    for suffix, content in (("svg", picture.svg), ("png", picture.png)):
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
