"""Small line charts as inline SVG for the page: lines are labelled at their ends, colours come from its style sheet."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, LEFT, TOP, BOTTOM = 330.0, 46.0, 8.0, 34.0
LABEL, LETTER = 12.0, 5.6
"""Height of a label and width of one of its letters."""
LONGEST = 26
"""Letters of a label; the whole name is its title."""
TICKS = 4


@dataclass(frozen=True)
class PlotLine:
    """One line of a plot."""

    label: str
    points: tuple[tuple[float, float], ...]
    kind: str
    """Classes of the style sheet: `s3` a method's shade, `d1` its dashes."""
    band: tuple[tuple[float, float], ...] = ()
    """Low and high at each point; none without."""
    filled: tuple[tuple[float, float], ...] = ()
    """Points that are marked."""


@dataclass(frozen=True)
class Plot:
    """One panel."""

    title: str
    x: str
    lines: tuple[PlotLine, ...]
    log_x: bool = False
    log_y: bool = False
    level: float | None = None
    """A grey line across."""

    def svg(self) -> Markup:
        """The panel, with what it shows in its title."""
        return _svg(self)


def _svg(plot: Plot) -> Markup:
    lines = [line for line in plot.lines if line.points]
    named = [line for line in lines if line.label]
    right = 8.0 + (LETTER * max(len(_short(line.label)) for line in named) if named else 0.0)
    height = max(170.0, TOP + BOTTOM + LABEL * len(named))
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    ys += [end for line in lines for pair in line.band for end in pair]
    if plot.level is not None:
        ys.append(plot.level)
    across = _Scale(xs, LEFT, WIDTH - right, plot.log_x)
    up = _Scale(ys, height - BOTTOM, TOP, plot.log_y)
    parts = [_axes(plot, across, up, height, WIDTH - right)]
    if plot.level is not None:
        y = up.place(plot.level)
        parts.append(Markup(f'<path class="level" d="M{LEFT:g} {y:.1f}H{WIDTH - right:.1f}"/>'))
    for line in lines:
        parts.append(_drawn(line, across, up))
    parts += _labels(named, up, WIDTH - right + 4.0, height)
    said = f"{plot.title}: {len(lines)} lines over {plot.x}"
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        f"{WIDTH:g}", f"{height:g}", said, Markup("").join(parts)
    )


class _Scale:
    """From values to places, linear or logarithmic."""

    def __init__(self, values: Sequence[float], start: float, end: float, logarithmic: bool) -> None:
        self.logarithmic = logarithmic and min(values) > 0
        found = [self._to(value) for value in values]
        low, high = min(found), max(found)
        room = 0.04 * (high - low) or 0.5
        self.low, self.high = low - room, high + room
        self.start, self.end = start, end
        self.whole = all(value == int(value) for value in values)

    def _to(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def place(self, value: float) -> float:
        share = (self._to(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.logarithmic and self.high - self.low > 1.2:
            decades = range(math.ceil(self.low), math.floor(self.high) + 1)
            every = max(1, len(decades) // TICKS)
            return [10.0**power for power in decades][::every]
        low, high = (10**self.low, 10**self.high) if self.logarithmic else (self.low, self.high)
        step = 10 ** math.floor(math.log10((high - low) / TICKS))
        step *= next(factor for factor in (1, 2, 5, 10) if factor * step * TICKS >= high - low)
        step = max(step, 1.0) if self.whole else step
        first = math.ceil(low / step)
        return [n * step for n in range(first, math.floor(high / step) + 1)]


def _axes(plot: Plot, across: _Scale, up: _Scale, height: float, right: float) -> Markup:
    base = height - BOTTOM
    lines = [f"M{LEFT:g} {TOP:g}V{base:g}H{right:.1f}"]
    texts = []
    for tick, text in _said(up.ticks()):
        y = up.place(tick)
        lines.append(f"M{LEFT - 3:g} {y:.1f}h3")
        texts.append(f'<text class="end" x="{LEFT - 6:g}" y="{y + 3.5:.1f}">{text}</text>')
    for tick, text in _said(across.ticks()):
        x = across.place(tick)
        lines.append(f"M{x:.1f} {base:g}v3")
        texts.append(f'<text class="mid" x="{x:.1f}" y="{base + 14:g}">{text}</text>')
    middle = (LEFT + right) / 2
    texts.append(f'<text class="mid" x="{middle:.1f}" y="{height - 4:g}">{escape(plot.x)}</text>')
    return Markup(f'<path class="axis" d="{"".join(lines)}"/>{"".join(texts)}')


def _drawn(line: PlotLine, across: _Scale, up: _Scale) -> Markup:
    def path(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in points)

    parts = []
    if line.band:
        xs = [x for x, _ in line.points]
        lows = [(x, low) for x, (low, _) in zip(xs, line.band, strict=True)]
        highs = [(x, high) for x, (_, high) in zip(xs, line.band, strict=True)]
        parts.append(f'<polygon class="{line.kind}" points="{path(lows + highs[::-1])}"/>')
    if len(line.points) > 1:
        parts.append(f'<polyline class="{line.kind}" points="{path(line.points)}"/>')
    marked = line.filled or (line.points if len(line.points) == 1 else ())
    parts += [
        f'<circle class="{line.kind}" cx="{across.place(x):.1f}" cy="{up.place(y):.1f}" r="3.5"/>'
        for x, y in marked
    ]
    return Markup("<g>{}{}</g>").format(
        Markup("<title>{}</title>").format(line.label) if line.label else "", Markup("".join(parts))
    )


def _labels(lines: Sequence[PlotLine], up: _Scale, x: float, height: float) -> list[Markup]:
    """At the height of each line's end, moved apart where they would overlap."""
    wanted = sorted((up.place(line.points[-1][1]), n) for n, line in enumerate(lines))
    places = apart([y for y, _ in wanted], LABEL, TOP + 4.0, height - BOTTOM + 4.0)
    return [
        Markup('<text class="{} name" x="{}" y="{}"><title>{}</title>{}</text>').format(
            lines[n].kind, f"{x:.1f}", f"{y + 3.5:.1f}", lines[n].label, _short(lines[n].label)
        )
        for y, (_, n) in zip(places, wanted, strict=True)
    ]


def apart(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Ascending places moved as little as need be, so that neighbours are `least` apart and all within low to high."""
    found: list[float] = []
    for place in places:
        found.append(max(place, low, found[-1] + least if found else low))
    limit = high
    for n in reversed(range(len(found))):
        found[n] = min(found[n], limit)
        limit = found[n] - least
    return found


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _said(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Every tick with its text, of as many digits as tell it from its neighbours."""
    near = 0.01 * min((abs(b - a) for a, b in itertools.pairwise(ticks)), default=math.inf)
    return [(tick, next(_numbers(tick, near))) for tick in ticks]


def _numbers(value: float, near: float) -> Iterator[str]:
    for digits in range(4, 17):
        if digits == 16 or abs(float(f"{value:.{digits}g}") - value) <= near:
            yield f"{value:.{digits}g}".replace("e-0", "e-").replace("-", "\N{MINUS SIGN}")
