"""Predictions in columns: classes or values beside their labels, and CoNLL files of tags."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from autolora_bench.errors import UserError
from autolora_bench.metrics.files import check_counts, read_blocks, read_lines

Value = int | float | str
HEADER = ("prediction", "label")
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_TAG = re.compile(r"O|[BIES](-\S+)?")
_BLANK = " \t\r\f\v"  # a no-break space belongs to its token
_BLANKS = re.compile(f"[{_BLANK}]+")


def read_predictions(
    predictions: Path, labels: Path | None, *, numeric: bool, classes: Sequence[str] = ()
) -> tuple[list[Value], list[Value]]:
    """Predictions and labels: two columns of one file, or one column of each of two files.

    Columns are separated by a tab or blanks. A first line `prediction label` is a header; in files of one column
    it is `prediction` or `label`.

    Args:
        predictions: file with the predictions, and with the labels where there is no second file.
        labels: file with the labels, or None.
        numeric: read real numbers; else classes, which are whole numbers or names.
        classes: names of all classes, in the order of their numbers; without them any class is taken.

    Raises:
        UserError: naming file and line of the first malformed line, or both line counts.
    """

    def value(cell: str, path: Path, number: int) -> Value:
        return _number(cell, path, number) if numeric else _class(cell, classes, path, number)

    if labels is None:
        rows = _read_table(predictions, HEADER, value)
        return [row[0] for row in rows], [row[1] for row in rows]
    left, right = _read_table(predictions, HEADER[:1], value), _read_table(labels, HEADER[1:], value)
    check_counts(predictions, len(left), labels, len(right))
    return [row[0] for row in left], [row[0] for row in right]


def read_tags(path: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Predicted and true tags of each sentence of a CoNLL file: `token gold predicted`, blank lines between sentences.

    Raises:
        UserError: naming the line that does not hold three columns or whose tags are no tags.
    """
    predictions, labels = [], []
    for block in read_blocks(path):
        rows = [_tag_row(path, number, line) for number, line in block]
        labels.append([gold for gold, _ in rows])
        predictions.append([predicted for _, predicted in rows])
    if not labels:
        raise UserError(f"{path}: no tagged token", "give lines `token gold predicted`")
    return predictions, labels


def _read_table(
    path: Path, names: tuple[str, ...], value: Callable[[str, Path, int], Value]
) -> list[list[Value]]:
    lines = read_lines(path)
    rows = [
        [value(cell, path, number) for cell in _cells(path, number, line, names)]
        for number, line in enumerate(lines, start=1)
        if number > 1 or tuple(line.lower().split()) != names
    ]
    if not rows:
        raise UserError(f"{path}: a header and no example", "give one line for each example")
    return rows


def _cells(path: Path, number: int, line: str, names: tuple[str, ...]) -> list[str]:
    cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
    if len(cells) != len(names) or not all(cells):
        raise UserError(
            f"{path}, line {number}: {len([c for c in cells if c])} columns where {len(names)} are expected ({line!r})",
            f"give on every line: {' and '.join(names)}" + (", separated by a tab" if len(names) > 1 else ""),
        )
    return cells


def _number(cell: str, path: Path, number: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise UserError(f"{path}, line {number}: {cell!r} is not a number", "give one number") from None
    if not math.isfinite(value):
        raise UserError(f"{path}, line {number}: {cell!r} is not a finite number", "give a finite number")
    return value


def _class(cell: str, classes: Sequence[str], path: Path, number: int) -> int | str:
    value: int | str = int(float(cell)) if _WHOLE.fullmatch(cell) else cell
    if value == cell and _is_number(cell):
        raise UserError(
            f"{path}, line {number}: {cell!r} is not a class",
            "give the class's number or name, not its score",
        )
    if classes and value not in (*classes, *range(len(classes))):
        known = ", ".join(f"{index} or {name}" for index, name in enumerate(classes))
        raise UserError(
            f"{path}, line {number}: {cell!r} is none of the task's classes",
            f"classes are {known}; a header is `prediction label`; for classes of your own: task=classification",
        )
    return value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _tag_row(path: Path, number: int, line: str) -> tuple[str, str]:
    tabbed = line.count("\t") == 2  # then a token may hold blanks
    cells = [cell.strip() for cell in line.split("\t")] if tabbed else _BLANKS.split(line.strip(_BLANK))
    if len(cells) != 3 or not all(cells):
        raise UserError(
            f"{path}, line {number}: {len([c for c in cells if c])} columns where 3 are expected ({line!r})",
            "give on every line: token, gold tag, predicted tag; a blank line between sentences",
        )
    for tag in cells[1:]:
        if not _TAG.fullmatch(tag):
            raise UserError(f"{path}, line {number}: {tag!r} is not a tag", "tags are O, B-type and I-type")
    return cells[1], cells[2]
