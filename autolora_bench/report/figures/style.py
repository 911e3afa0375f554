"""How figures look, and how they become bytes that are the same every time."""

import hashlib
import io
import math
import os
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

from autolora_bench.errors import UserError
from autolora_bench.record import write_atomically

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Okabe and Ito's palette, told apart by the colour-blind; markers and dashes tell lines apart in print."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
HEAT = "Blues"
"""One hue from light to dark: order survives colour-blindness and a grey print."""
LEAST_WIDTH = 4.0
"""Inches: less leaves no room for a legend."""
LETTER, HANDLE, LINE = 0.07, 0.65, 0.19
"""Inches that a letter of a legend takes, a line's sample with the gap between columns, and the height of a line."""
LONGEST = 150
"""Letters of a file name."""
NARROW = 8.0
"""A logarithmic axis over a smaller factor has too few decades to mark."""
SAVED: dict[str, dict[str, Any]] = {
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "png": {"metadata": {"Software": None}, "dpi": 150},
}
"""How each format is saved."""
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "autolora-bench",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "lines.linewidth": 1.4,
    "lines.markersize": 5.0,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: file name without suffix.
        caption: what it shows, of which model, seeds and data.
        alt: its content in a sentence.
        render: its bytes in a format, svg or png.
    """

    name: str
    caption: str
    alt: str
    render: Callable[[str], bytes]

    @cached_property
    def svg(self) -> bytes:
        """Scalable form, text as outlines."""
        return self.render("svg")

    @cached_property
    def png(self) -> bytes:
        """Raster form."""
        return self.render("png")


def line_style(position: int) -> dict[str, Any]:
    """Colour, marker and dashes of the n-th line of a figure; a colour that comes again has another marker."""
    place = (position + position // len(COLOURS)) % len(MARKERS)
    return {
        "color": COLOURS[position % len(COLOURS)],
        "marker": MARKERS[place],
        "linestyle": DASHES[place],
    }


def picture(name: str, subject: str, caption: str, alt: str, draw: Callable[[], Figure]) -> Picture:
    """A figure with the project's looks; no date and no program version goes into the files.

    Args:
        name: file name without suffix.
        subject: model, data and seeds, written above the figure.
        caption: what is drawn.
        alt: its content in a sentence.
        draw: makes the figure, once, when its bytes are asked for.
    """

    @cache
    def drawn() -> Figure:
        figure = draw()
        lines = textwrap.wrap(subject, max(30, int(15 * figure.get_figwidth())))
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=8, color="#444444")
        return figure

    def render(form: str) -> bytes:
        content = io.BytesIO()
        with mpl.rc_context(SETTINGS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            drawn().savefig(content, format=form, **SAVED[form])
        return content.getvalue()

    return Picture(name, f"{caption} {subject}.", alt, render)


def write_figure(folder: Path, picture: Picture, formats: Sequence[str]) -> list[Path]:
    """Write a figure in the formats asked for, and beside it a text with its caption and content; the figure's files.

    Raises:
        UserError: the folder cannot be written.
    """
    paths = []
    for suffix in formats:
        path = folder / f"{picture.name}.{suffix}"
        partial = path.with_name(f".{path.name}.partial")
        content = picture.svg if suffix == "svg" else picture.png
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


def wrapped(label: str, width: int = 32) -> str:
    """A label over several lines; a single long word stays whole."""
    return textwrap.fill(label, width, break_long_words=False, break_on_hyphens=False)


def row_height(labels: Sequence[str]) -> float:
    """Inches that each of several rows needs, for the label with the most lines."""
    return LINE * max(2, *(label.count("\n") + 1 for label in labels)) + 0.04


def panels(count: int, width: float, height: float, columns: int = 4) -> tuple[Figure, Sequence[Any]]:
    """A figure of `count` panels, `columns` a row at most, each of the given size in inches."""
    across = min(count, columns)
    down = -(-count // across)
    figure = Figure(figsize=(max(width * across, LEAST_WIDTH), height * down + 0.3), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]


def logarithmic(axes: Any, which: str) -> None:
    """Logarithmic x or y axis with plain numbers at a few ticks: no text in a figure is ever read as a formula."""
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    low, high = axis.get_view_interval()
    narrow = high / low < NARROW
    subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axis.set_major_locator(MaxNLocator(3) if narrow else LogLocator(subs=subs, numticks=8))
    if narrow:
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, axes: Sequence[Any]) -> None:
    """One legend for all panels, below them, in as many columns as its labels leave room for."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        room = figure.get_figwidth()
        labels = [wrapped(label, int((room - HANDLE) / LETTER)) for label in handles]
        widest = max(len(line) for label in labels for line in label.splitlines()) * LETTER + HANDLE
        columns = max(1, min(len(handles), int(room / widest)))
        lines = sum(label.count("\n") + 1 for label in labels) / columns
        figure.set_figheight(figure.get_figheight() + LINE * math.ceil(lines))
        figure.legend(handles.values(), labels, loc="outside lower center", ncols=columns)


def file_name(*parts: str) -> str:
    """A file name from parts of any text, short enough for any file system."""
    text = "-".join(parts)
    name = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "_" for char in text)
    return (
        name if len(name) <= LONGEST else f"{name[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    )
