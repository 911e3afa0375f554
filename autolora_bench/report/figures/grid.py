"""Where panels stand, in inches: nothing is drawn to find that out.

Many small panels, and squares of numbers, are few objects: matplotlib takes about 50 ms for an axes of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from autolora_bench.report.figures.style import (
    BELOW,
    EDGE,
    HEAT,
    LEAST_WIDTH,
    LINE,
    TICKS,
    TITLE,
    inches,
    wrapped,
)

MARGIN = 0.05
"""Share of the values' range that is left free at either end."""


@dataclass(frozen=True)
class Grid:
    """Places of equal panels in one axes; all lengths are inches, the origin is at the lower left.

    Attributes:
        across, down: panels in a row, rows.
        width, height: of a panel.
        left, bottom, right, top: room outside of all panels.
        apart: room between neighbours, sideways and upwards.
    """

    across: int
    down: int
    width: float
    height: float
    left: float
    bottom: float
    right: float
    top: float
    apart: tuple[float, float]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        wide = self.left + self.across * (self.width + self.apart[0]) - self.apart[0] + self.right
        high = self.bottom + self.down * (self.height + self.apart[1]) - self.apart[1] + self.top
        return max(wide, LEAST_WIDTH), high

    def figure(self) -> tuple[Figure, Any]:
        """A figure of the right size and the axes that covers it, whose data are inches."""
        wide, high = self.size
        figure = Figure(figsize=self.size)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(0, high))
        axes.set_axis_off()
        return figure, axes

    def panels(self, count: int) -> tuple[Figure, list[Any]]:
        """A figure of the right size and an axes for each of `count` panels, row by row."""
        wide, high = self.size
        figure, axes = Figure(figsize=self.size), []
        for number in range(count):
            x, y = self.corner(*divmod(number, self.across))
            one = figure.add_axes((x / wide, y / high, self.width / wide, self.height / high))
            # Where a label stands is known: matplotlib would measure all ticks for it.
            one.xaxis.set_label_coords(0.5, -0.3 / self.height)
            one.yaxis.set_label_coords(-(self.left - 0.15) / self.width, 0.5)
            axes.append(one)
        return figure, axes

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """Lower left corner of a panel; row 0 is at the top."""
        return (
            self.left + column * (self.width + self.apart[0]),
            self.bottom + (self.down - 1 - row) * (self.height + self.apart[1]),
        )


@dataclass(frozen=True)
class Scale:
    """A linear scale over a panel's side.

    Attributes:
        low, high: least and greatest value.
        length: of the side, inches.
    """

    low: float
    high: float
    length: float

    def place(self, values: Any) -> NDArray[np.float64]:
        """Inches from the panel's corner."""
        spread = (self.high - self.low) or 1.0
        shares = (np.asarray(values, dtype=np.float64) - self.low) / spread
        return (MARGIN + (1 - 2 * MARGIN) * shares) * self.length

    def ticks(self, most: int, whole: bool = False) -> list[tuple[float, str]]:
        """Places and names of round values, about `most` of them; one where the values are all alike."""
        if self.low == self.high:
            return [(float(self.place(self.low)), f"{self.low:.6g}")]
        values = MaxNLocator(most, integer=whole).tick_values(self.low, self.high)
        found = [(p, v) for p, v in zip(self.place(values), values, strict=True) if 0 <= p <= self.length]
        names: list[str] = []
        for digits in range(3, 16):  # as many as tell them apart
            names = [f"{value:.{digits}g}" if not whole else f"{value:.0f}" for _, value in found]
            if len(set(names)) == len(names):
                break
        return [(float(place), name) for (place, _), name in zip(found, names, strict=True)]


def panels(
    titles: Sequence[str],
    width: float,
    height: float,
    columns: int = 4,
    *,
    names: float | None = None,
    left: float = TICKS,
    right: float = 0.0,
) -> tuple[Figure, list[Any]]:
    """A figure with a panel for every title, `columns` in a row at most; all lengths are inches.

    Args:
        titles: one for each panel, wrapped to its width.
        width, height: of a panel alone.
        columns: most panels in a row.
        names: room for names of rows at the left of the first panel of a line; the others have no numbers there either.
        left: room for numbers, and a label, at the left of every panel; not used with `names`.
        right: room for names at the right of every panel.
    """
    lines = [wrapped(title, max(10, int((width + 2 * EDGE) / inches("e")))) for title in titles]
    top = TITLE + LINE * max(title.count("\n") for title in lines)
    across = min(len(titles), columns)
    grid = Grid(
        across=across,
        down=-(-len(titles) // across),
        width=width,
        height=height,
        left=left if names is None else names,
        bottom=BELOW,
        right=right + EDGE,
        top=top,
        apart=((left if names is None else 2 * EDGE) + right + EDGE, BELOW + top),
    )
    figure, axes = grid.panels(len(titles))
    for one, title in zip(axes, lines, strict=True):
        one.set_title(title)
    return figure, axes


def squares(
    axes: Any, cells: Sequence[tuple[float, float, float]], size: tuple[float, float], top: float
) -> None:
    """Ranks as squares with their numbers; darker is higher.

    Args:
        axes: where to draw.
        cells: centre's x and y, and the rank.
        size: of a square, in the axes' units.
        top: the highest rank of the figure.
    """
    wide, high = size[0] / 2, size[1] / 2
    corners = [
        [(x - wide, y - high), (x + wide, y - high), (x + wide, y + high), (x - wide, y + high)]
        for x, y, _ in cells
    ]
    colours = mpl.colormaps[HEAT]([0.05 + 0.9 * rank / max(top, 1.0) for _, _, rank in cells])
    axes.add_collection(
        PolyCollection(corners, facecolors=colours, edgecolors="white", linewidths=1.0), autolim=False
    )
    for x, y, rank in cells:
        text = f"{rank:.0f}" if abs(rank - round(rank)) < 0.05 else f"{rank:.1f}"
        axes.text(
            x, y, text, ha="center", va="center", fontsize=7, color="white" if rank > 0.6 * top else "#1b1f24"
        )
