"""How figures look, and how they become bytes that are the same every time."""

import hashlib
import io
import math
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import count, pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

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
LINE, HEADING = 0.15, 0.14
"""Inches that a line of text takes, and one above a figure."""
NAME, TEXT = 7.5, 9.0
"""Points of names beside lines and of all other text."""
TICKS, BELOW, TITLE, EDGE = 0.65, 0.45, 0.3, 0.15
"""Inches that a panel's numbers take at its left, what stands below it and a title of one line above it, and what is
left free at its right."""
MOST_LETTERS, ALL_LETTERS = 36, 120
"""Letters of a label beside a line or a point, and of labels that fewer do not tell apart."""
LONGEST = 150
"""Letters of a file name."""
MOST_TICKS = 7
"""On a logarithmic axis."""
METADATA: dict[str, dict[str, None]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
DPI = {"svg": 72, "png": 150}
"""How each format is drawn and saved; an SVG's points are 72 an inch."""
FAMILY = "DejaVu Sans"
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "autolora-bench",
    "svg.fonttype": "path",
    "font.family": FAMILY,
    "font.size": TEXT,
    "axes.titlesize": TEXT,
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
        _head(figure, textwrap.wrap(subject, max(30, int(15 * figure.get_figwidth()))))
        return figure

    def render(form: str) -> bytes:
        content = io.BytesIO()
        with mpl.rc_context(SETTINGS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            drawn().savefig(content, format=form, dpi=DPI[form], metadata=METADATA[form])
        return content.getvalue()

    return Picture(name, f"{caption} {subject}.", alt, render)


def _head(figure: Figure, lines: Sequence[str]) -> None:
    """Lines of text above all that is drawn, which keeps its size: the figure grows."""
    before = figure.get_figheight()
    after = before + HEADING * len(lines) + 0.1
    figure.set_figheight(after)
    for axes in figure.axes:
        left, low, wide, high = axes.get_position().bounds
        axes.set_position((left, low * before / after, wide, high * before / after))
    figure.suptitle(
        "\n".join(lines),
        x=0.08 / figure.get_figwidth(),
        y=1 - 0.06 / after,
        ha="left",
        va="top",
        fontsize=8,
        color="#444444",
    )


def wrapped(label: str, width: int = 32) -> str:
    """A label over several lines; a single long word stays whole."""
    return textwrap.fill(label, width, break_long_words=False, break_on_hyphens=False)


def row_height(labels: Sequence[str]) -> float:
    """Inches that each of several rows needs, for the label with the most lines."""
    return 0.19 * max(2, *(label.count("\n") + 1 for label in labels)) + 0.04


def inches(text: str, points: float = TEXT) -> float:
    """Width of a line of text: of its outlines, and a little more, as a raster makes letters whole pixels wide."""
    wide, _, _ = text_to_path.get_text_width_height_descent(
        text, FontProperties(family=FAMILY, size=points), False
    )
    return 1.04 * float(wide) / 72


def size_of(axes: Any) -> tuple[float, float]:
    """Inches of a panel without what stands around it."""
    place, (wide, high) = axes.get_position(), axes.figure.get_size_inches()
    return float(place.width * wide), float(place.height * high)


def room_at_left(labels: Sequence[str]) -> float:
    """Inches that names of rows need, which may have several lines."""
    return max((inches(line) for label in labels for line in label.split("\n")), default=0.0) + 0.15


def room_at_right(names: Collection[str]) -> tuple[float, float]:
    """Inches of width that names of lines or points need, and of height for one below the other."""
    return max((inches(name, NAME) for name in names), default=0.0) + 0.1, LINE * len(names)


def logarithmic(axes: Any, which: str) -> None:
    """Logarithmic x or y axis with plain numbers at a few ticks: no text in a figure is ever read as a formula.

    Args:
        axes: with limits that stay as they are.
        which: x or y.
    """
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    low, high = axis.get_view_interval()
    upright = which == "y"
    values = _marked(float(low), float(high), size_of(axes)[upright], upright)
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FixedFormatter([f"{value:g}" for value in values]))
    axis.set_minor_locator(NullLocator())


def _marked(low: float, high: float, length: float, upright: bool) -> list[float]:
    """Round values on a logarithmic scale of so many inches: as many as may be, of those whose numbers do not touch."""
    if not 0 < low < high < math.inf:
        return []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    by_decade = [[part * 10.0**n for n in decades for part in parts] for parts in ((1, 2, 5), (1, 3))]
    by_decade += [[10.0**n for n in decades if n % step == 0] for step in range(1, len(decades) + 1)]
    linear = [MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) for count in (4, 3, 2, 1)]
    best: list[float] = []
    for choices in (by_decade, linear):
        for values in choices:
            inside = [float(value) for value in values if low <= value <= high]
            fits = len(inside) <= MOST_TICKS and _fit(inside, length / math.log10(high / low), upright)
            best = inside if fits and len(inside) > len(best) else best
        if len(best) > 1:
            break
    return best


def _fit(values: Sequence[float], decade: float, upright: bool) -> bool:
    """Whether numbers at values that ascend do not touch and have room, where a decade is so many inches."""
    widths = [inches(f"{value:g}") for value in values]
    if upright and max(widths, default=0.0) > TICKS - 0.1:
        return False
    sizes = [LINE if upright else wide for wide in widths]
    pairs = zip(pairwise(values), pairwise(sizes), strict=True)
    return all(decade * math.log10(b / a) > (first + second) / 2 + 0.04 for (a, b), (first, second) in pairs)


def shortened(labels: Iterable[str]) -> dict[str, str]:
    """Labels of a figure -> names that fit beside a panel, each another; alternative text and tables say the whole.

    They have no more letters than tell them apart, and a number where `ALL_LETTERS` do not.
    """
    whole = list(dict.fromkeys(labels))
    for most in range(MOST_LETTERS, ALL_LETTERS + 1):
        names = [one if len(one) <= most else f"{one[: most - 1]}\N{HORIZONTAL ELLIPSIS}" for one in whole]
        if len({*names}) == len(names):
            return dict(zip(whole, names, strict=True))
    return {one: f"{name} ({number})" for number, (one, name) in enumerate(zip(whole, names, strict=True), 1)}


def label_ends(axis: Any, ends: Sequence[tuple[str, float, float, str]]) -> bool:
    """Names beside the panel at the height of each line's end, moved apart where they would touch.

    Args:
        axis: with everything drawn.
        ends: name, x and y of the end, colour.

    Returns:
        Whether the panel is high enough: where it is not, the lowest names stand below it.
    """
    axis.get_xlim(), axis.get_ylim()  # limits are found out when they are asked for, not by the transform
    least = LINE / size_of(axis)[1]
    placed = sorted((_share(axis, x, y)[1], n) for n, (_, x, y, _) in enumerate(ends))
    pointers = []
    for height_share, (_, n) in zip(apart([y for y, _ in placed], least, 0.0, 1.0), placed, strict=True):
        name, x, y, colour = ends[n]
        axis.text(
            1.03,
            height_share,
            name,
            transform=axis.transAxes,
            va="center",
            fontsize=NAME,
            color=colour,
        )
        pointers.append([_share(axis, x, y), (1.025, height_share)])
    axis.add_collection(
        LineCollection(
            pointers,
            transform=axis.transAxes,
            colors=PALE,
            linewidths=0.6,
            clip_on=False,
            zorder=1.5,
        ),
        autolim=False,
    )
    return least * (len(ends) - 1) <= 1.0


def label_points(axis: Any, points: Sequence[tuple[str, float, float, str]]) -> bool:
    """Names beside their points; those with no free place there stand beside the panel, with a line to the point.

    Args:
        axis: with everything drawn.
        points: name, x, y, colour, the most important first.

    Returns:
        As `label_ends`, for the names beside the panel.
    """
    axis.get_xlim(), axis.get_ylim()
    wide, high = size_of(axis)
    places = [_share(axis, x, y) for _, x, y, _ in points]
    marks = [(x * wide, y * high) for x, y in places]
    taken = [(x - 0.05, y - 0.05, x + 0.05, y + 0.05) for x, y in marks]
    left_over = []
    for number, (point, (x, y)) in enumerate(zip(points, marks, strict=True)):
        name, colour = point[0], point[3]
        across = inches(name, NAME)
        others = [box for place, box in enumerate(taken) if place != number]
        for side, right, up in SIDES:
            left = x + (0.08 if right > 0 else -0.08 - across if right < 0 else -across / 2)
            low = y + (0.06 if up > 0 else -0.06 - LINE if up < 0 else -LINE / 2)
            box = (left, low, left + across, low + LINE)
            inside = left > 0 and box[2] < wide and low > -0.05 and box[3] < high + 0.05
            if inside and not any(_overlap(box, other) for other in others):
                taken.append(box)
                axis.annotate(
                    name,
                    point[1:3],
                    xytext=(5.5 * right, 5.5 * up),
                    textcoords="offset points",
                    ha=side,
                    va="bottom" if up > 0 else "top" if up < 0 else "center",
                    fontsize=NAME,
                    color=colour,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.7},
                )
                break
        else:
            left_over.append(point)
    return label_ends(axis, left_over)


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


def named_apart(pictures: Sequence[Picture]) -> list[Picture]:
    """The same pictures; of those whose names no file system tells apart, the second ends in -2, and so on."""
    taken: set[str] = set()
    found = []
    for one in pictures:
        names = (one.name if number == 1 else f"{one.name}-{number}" for number in count(1))
        name = next(name for name in names if name.casefold() not in taken)
        taken.add(name.casefold())
        found.append(replace(one, name=name))
    return found
