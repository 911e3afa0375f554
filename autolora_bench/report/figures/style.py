"""How figures look, and how they become bytes that are the same every time."""

import hashlib
import io
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

from autolora_bench.report.palette import MARKERS, Look
from autolora_bench.report.plots import apart

DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
DARK, MIDDLE, PALE = "#333333", "#8a8a8a", "#d0d0d0"
"""Of what is no method: colours mean methods and nothing else."""
HEAT = "Blues"
"""One hue from light to dark: order survives colour-blindness and a grey print."""
LEAST_WIDTH = 4.0
"""Inches: less leaves no room for the line above the figure."""
SIDES = (("left", 1, 0), ("right", -1, 0), ("center", 0, 1), ("center", 0, -1))
"""Where a point's name may stand: how it is aligned, and to which side of the point."""
LETTER, LINE = 0.062, 0.15
"""Inches that a letter of a label takes, and the height of its line."""
AXES = 0.75
"""Inches of a panel's width and height that ticks and titles take."""
MOST_LETTERS = 36
"""Letters of a label beside a line or a point."""
LONGEST = 150
"""Letters of a file name."""
NARROW = 8.0
"""A logarithmic axis over a smaller factor has too few decades to mark."""
METADATA: dict[str, dict[str, None]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
CANVASES = {"svg": FigureCanvasSVG, "png": FigureCanvasAgg}
DPI = {"svg": 72, "png": 150}
"""How each format is drawn and saved; an SVG's points are 72 an inch."""
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "autolora-bench",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titley": 1.0,  # where it would be put anyway, after a search for ticks above the panel
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


def line_style(look: Look) -> dict[str, Any]:
    """Colour of the method's family; marker and dashes tell its methods apart, in grey too."""
    return {"color": look.colour, "marker": MARKERS[look.marker], "linestyle": DASHES[look.marker]}


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
            _save(drawn(), content, form)
        return content.getvalue()

    return Picture(name, f"{caption} {subject}.", alt, render)


def _save(figure: Figure, file: io.BytesIO, form: str) -> None:
    """As `savefig`, which for a constrained layout draws the figure once more, where its parts' sizes are enough."""
    _leave_out_empty_labels(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        CANVASES[form](figure)
        figure.dpi = DPI[form]
        engine.execute(figure)
        figure.set_layout_engine("none")
    figure.savefig(file, format=form, dpi=DPI[form], metadata=METADATA[form])
    figure.set_layout_engine(engine)


def _leave_out_empty_labels(figure: Figure) -> None:
    """An axis without a label has none to be placed, for which matplotlib measures all of its ticks."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0.5, 0.5)


def wrapped(label: str, width: int = 32) -> str:
    """A label over several lines; a single long word stays whole."""
    return textwrap.fill(label, width, break_long_words=False, break_on_hyphens=False)


def row_height(labels: Sequence[str]) -> float:
    """Inches that each of several rows needs, for the label with the most lines."""
    return 0.19 * max(2, *(label.count("\n") + 1 for label in labels)) + 0.04


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


def room_for(labels: Sequence[str]) -> tuple[float, float]:
    """Inches of width and height that a panel needs for labels beside it."""
    lines = [shortened(label) for label in labels]
    return LETTER * max(map(len, lines), default=0), LINE * len(lines) + AXES


def shortened(label: str) -> str:
    """A label that fits beside a panel; alternative text and tables say the whole."""
    return label if len(label) <= MOST_LETTERS else f"{label[: MOST_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"


def label_ends(axis: Any, ends: Sequence[tuple[str, float, float, str]], height: float) -> None:
    """Names beside the panel at the height of each line's end, moved apart where they would touch.

    Args:
        axis: with everything drawn.
        ends: label, x and y of the end, colour.
        height: of the panel in inches.
    """
    axis.get_xlim(), axis.get_ylim()  # limits are found out when they are asked for, not by the transform
    least = LINE / max(height - AXES, 0.3)
    placed = sorted((_share(axis, x, y)[1], n) for n, (_, x, y, _) in enumerate(ends))
    for height_share, (_, n) in zip(apart([y for y, _ in placed], least, 0.0, 1.0), placed, strict=True):
        label, x, y, colour = ends[n]
        axis.annotate(
            shortened(label),
            (x, y),
            xytext=(1.03, height_share),
            textcoords="axes fraction",
            va="center",
            fontsize=7.5,
            color=colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": PALE,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )


def label_points(
    axis: Any, points: Sequence[tuple[str, float, float, str]], size: tuple[float, float]
) -> None:
    """Names beside their points; those with no free place there stand beside the panel, with a line to the point.

    Args:
        axis: with everything drawn.
        points: label, x, y, colour, the most important first.
        size: of the panel in inches.
    """
    axis.get_xlim(), axis.get_ylim()
    wide = size[0] - AXES - room_for([label for label, *_ in points])[0]
    high = size[1] - AXES
    places = [_share(axis, x, y) for _, x, y, _ in points]
    marks = [(x * wide, y * high) for x, y in places]
    taken = [(x - 0.05, y - 0.05, x + 0.05, y + 0.05) for x, y in marks]
    left_over = []
    for number, (point, (x, y)) in enumerate(zip(points, marks, strict=True)):
        label, colour = shortened(point[0]), point[3]
        across = LETTER * len(label)
        others = [box for place, box in enumerate(taken) if place != number]
        for side, right, up in SIDES:
            left = x + (0.08 if right > 0 else -0.08 - across if right < 0 else -across / 2)
            low = y + (0.06 if up > 0 else -0.06 - LINE if up < 0 else -LINE / 2)
            box = (left, low, left + across, low + LINE)
            inside = left > 0 and box[2] < wide and low > -0.05 and box[3] < high + 0.05
            if inside and not any(_overlap(box, other) for other in others):
                taken.append(box)
                axis.annotate(
                    label,
                    point[1:3],
                    xytext=(5.5 * right, 5.5 * up),
                    textcoords="offset points",
                    ha=side,
                    va="bottom" if up > 0 else "top" if up < 0 else "center",
                    fontsize=7.5,
                    color=colour,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.7},
                )
                break
        else:
            left_over.append(point)
    label_ends(axis, left_over, size[1])


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _share(axis: Any, x: float, y: float) -> tuple[float, float]:
    """A point of the data as shares of the panel's width and height."""
    found = axis.transAxes.inverted().transform(axis.transData.transform((x, y)))
    return float(found[0]), float(found[1])


def file_name(*parts: str) -> str:
    """A file name from parts of any text, short enough for any file system."""
    text = "-".join(parts)
    name = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "_" for char in text)
    return (
        name if len(name) <= LONGEST else f"{name[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    )
