"""Which colour and marker a method has, in every figure and on the page: a colour means one family of methods."""

from collections.abc import Sequence
from dataclasses import dataclass

from autolora_bench.config.registry import FAMILIES, UNTRAINED
from autolora_bench.report.rows import RowRuns
from autolora_bench.report.runs import OTHER
from autolora_bench.report.scoreboard import Row

GREY = "#7f7f7f"
COLOURS = {
    **dict.fromkeys(FAMILIES, GREY),
    "full": "#000000",
    **dict.fromkeys(("adapter", "bitfit", "prompt", "peft"), "#7a5b3a"),
    "lora": "#0072b2",
    "variant": "#56b4e9",
    "adalora": "#e69f00",
    "autolora": "#d55e00",
    "allocator": "#009e73",
    "control": "#cc79a7",
}
"""Okabe and Ito's palette, told apart by the colour-blind, with a brown; references and floors are grey."""
SHADES = tuple(dict.fromkeys(COLOURS.values()))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Tell the methods of one family apart, also in a grey print."""


@dataclass(frozen=True)
class Look:
    """How one row is drawn."""

    family: str
    place: int
    """Among the rows of its family: decides marker and dashes."""

    @property
    def colour(self) -> str:
        """Hexadecimal, for a white ground."""
        return COLOURS[self.family]

    @property
    def shade(self) -> int:
        """The colour's number, which the page's style sheet gives one for dark ground too."""
        return SHADES.index(self.colour)

    @property
    def marker(self) -> int:
        """Position in `MARKERS`."""
        return self.place % len(MARKERS)


def looks_of(rows: Sequence[Row]) -> list[Look]:
    """The looks of a table's rows, in their order."""
    return looks([row_family(row) for row in rows])


def looks(families: Sequence[str]) -> list[Look]:
    """The looks of methods of these families, in this order; an unknown family counts as `other`."""
    found: list[Look] = []
    for family in families:
        known = family if family in COLOURS else OTHER
        found.append(Look(known, sum(one.colour == COLOURS[known] for one in found)))
    return found


def row_family(row: Row | RowRuns) -> str:
    """The family that a row's colour stands for."""
    return UNTRAINED if row.method == UNTRAINED else row.runs[0].family
