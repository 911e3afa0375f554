"""Predictions in columns: classes or values beside their labels."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from autolora_bench.data.text_files import BLANKS, holds_json, quote
from autolora_bench.errors import UserError
from autolora_bench.metrics.files import read_lines

Value = int | float | str
HEADER = ("prediction", "label")
LONGEST = 15
"""Digits of a whole number that a float holds exactly."""
_BLANKS = re.compile(f"[{BLANKS}]+")
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")


def read_columns(
    path: Path, names: tuple[str, ...], *, numeric: bool, classes: Sequence[str] = ()
) -> list[list[Value]]:
    """The columns of a file, one list for each name.

    Columns are separated by a tab or blanks; other white space belongs to a name. A first line with the names is a
    header. In a file ending in .jsonl there is one column, blanks or not.

    Args:
        path: the file.
        names: what the columns hold: `HEADER`, or a part of it.
        numeric: read real numbers; else classes, which are whole numbers or names.
        classes: names of all classes, in the order of their numbers; without them any class is taken.

    Raises:
        UserError: naming the first malformed line.
    """

    def value(cell: str, number: int) -> Value:
        return _number(cell, path, number) if numeric else _class(cell, classes, path, number)

    lines = read_lines(path)
    rows = [
        [value(cell, number) for cell in _cells(path, number, line, names)]
        for number, line in enumerate(lines, start=1)
        if number > 1 or tuple(_split(line.lower())) != names
    ]
    if not rows:
        raise UserError(f"{path}: a header and no example", "give one line for each example")
    return [list(column) for column in zip(*rows, strict=True)]


def _cells(path: Path, number: int, line: str, names: tuple[str, ...]) -> list[str]:
    cells = _split(line) if not holds_json(path) else [line.strip(BLANKS)]
    if names == HEADER and any(cells[:1]) and not any(cells[1:]):
        raise UserError(
            f"{path}, line {number}: a prediction and no label ({quote(line)})",
            "write the label in a second column, or give labels one a line (or GLUE's own dev.tsv) in references=FILE",
        )
    if len(cells) != len(names) or not all(cells):
        raise UserError(
            f"{path}, line {number}: {sum(map(bool, cells))} columns where {len(names)} are expected ({quote(line)})",
            f"give on every line: {' and '.join(names)}" + (", separated by a tab" if len(names) > 1 else ""),
        )
    return cells


def _split(line: str) -> list[str]:
    if "\t" in line:
        return [cell.strip(BLANKS) for cell in line.split("\t")]
    return _BLANKS.split(line.strip(BLANKS))


def _number(cell: str, path: Path, number: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise UserError(f"{path}, line {number}: {quote(cell)} is not a number", "give one number") from None
    if not math.isfinite(value):
        raise UserError(
            f"{path}, line {number}: {quote(cell)} is not a finite number", "give a finite number"
        )
    return value


def _class(cell: str, classes: Sequence[str], path: Path, number: int) -> int | str:
    value: int | str = int(float(cell)) if len(cell) <= LONGEST and _WHOLE.fullmatch(cell) else cell
    if value == cell and _is_number(cell):
        raise UserError(
            f"{path}, line {number}: {quote(cell)} is not a class",
            "give the class's number or name, not its score",
        )
    if classes and value not in (*classes, *range(len(classes))):
        known = ", ".join(f"{index} or {name}" for index, name in enumerate(classes))
        raise UserError(
            f"{path}, line {number}: {quote(cell)} is none of the task's classes",
            f"classes are {known}; a header is `prediction label`; for classes of your own: task=classification",
        )
    return value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
