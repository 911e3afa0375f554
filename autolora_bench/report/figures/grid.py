"""Many small panels, and squares of numbers, as few objects: matplotlib takes about 50 ms for an axes of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from autolora_bench.report.figures.style import HEAT, LEAST_WIDTH

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

    def figure(self) -> tuple[Figure, Any]:
        """A figure of the right size and the axes that covers it, whose data are inches."""
        wide = self.left + self.across * (self.width + self.apart[0]) - self.apart[0] + self.right
        high = self.bottom + self.down * (self.height + self.apart[1]) - self.apart[1] + self.top
        figure = Figure(figsize=(max(wide, LEAST_WIDTH), high))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, max(wide, LEAST_WIDTH)), ylim=(0, high))
        axes.set_axis_off()
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
