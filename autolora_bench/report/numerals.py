"""How numbers are written: one place, so that every table, page and figure agrees."""

import math

MINUS = "\N{MINUS SIGN}"


EXACT_ZERO = 1e-9
"""What is left of 0 after rounding of sums."""


def score(value: float, *, fraction: bool = True) -> str:
    """A score in its published unit, two decimals; minus zero is zero.

    Args:
        value: to be written.
        fraction: whether the unit is a hundredth. Of other units, where 0.1 may be much, less has three significant
            digits.
    """
    if not fraction and EXACT_ZERO < abs(value) < 0.1:
        return _digits(value, 3, "")
    text = f"{value:.2f}"
    return (text if float(text) else "0.00").replace("-", MINUS)


def difference(value: float) -> str:
    """A signed difference, written as `size` is."""
    text = f"{value:+.2f}"
    return text.replace("-", MINUS) if float(text) else _small(value, "+")


def size(value: float) -> str:
    """Two decimals; what they would make 0.00 of has two significant digits."""
    text = f"{value:.2f}"
    return text.replace("-", MINUS) if float(text) else _small(value, "")


def _small(value: float, sign: str) -> str:
    return "0.00" if abs(value) < EXACT_ZERO else _digits(value, 2, sign)


def _digits(value: float, significant: int, sign: str) -> str:
    places = significant - 1 - math.floor(math.log10(abs(value)))
    return f"{value:{sign}.{places}f}".replace("-", MINUS)


def p_value(value: float, digits: int) -> str:
    """A p with so many decimals, as `<0.001` where they would make 0 of it; never rounded up to a level of .05."""
    least = 10.0**-digits
    if value < least:
        return f"<{least:.{digits}f}"
    text = f"{value:.{digits}f}"
    return f"<{text}" if value < 0.05 <= float(text) else text


def millions(count: float) -> str:
    """Weights in millions with three significant digits, without trailing zeros after the third: 0.0741, 22.7, 125."""
    value = count / 1e6
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def span(counts: list[float]) -> str:
    """Millions of weights of several runs: one number where all round alike, else least to most."""
    low, high = millions(min(counts)), millions(max(counts))
    return low if low == high else f"{low}\N{EN DASH}{high}"


def rank(mean: float) -> str:
    """A mean rank: whole, or with one decimal."""
    return f"{mean:.0f}" if abs(mean - round(mean)) < 0.05 else f"{mean:.1f}"


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 42 s, 3.4 min, 2.1 h."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def seconds(value: float) -> str:
    """Seconds as a number to compare: whole ones, or three significant digits below ten."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def plural(count: int, noun: str) -> str:
    """`1 run`, `2 runs`, `1,234 runs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def stated(value: object) -> str:
    """A value in words."""
    return "not stated" if value is None else str(value)
