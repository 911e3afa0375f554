"""Predictions in columns: classes or values beside their labels, and CoNLL files of tags."""

import math
import re
from pathlib import Path

from autolora_bench.errors import UserError
from autolora_bench.metrics.files import check_counts, read_blocks, read_lines

Value = int | float | str
HEADER = ("prediction", "label")
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_TAG = re.compile(r"O|[BIES](-\S+)?")
_BLANKS = re.compile(r"[ \t\r\f\v]+")  # a no-break space belongs to its token


def read_predictions(
    predictions: Path, labels: Path | None, *, numeric: bool
) -> tuple[list[Value], list[Value]]:
    """Predictions and labels: two columns of one file, or one column of each of two files.

    Columns are separated by a tab or blanks. A first line `prediction label` is a header; in files of one column
    it is `prediction` or `label`.

    Args:
        predictions: file with the predictions, and with the labels where there is no second file.
        labels: file with the labels, or None.
        numeric: read real numbers; else classes, which are whole numbers or names.

    Raises:
        UserError: naming file and line of the first malformed line, or both line counts.
    """
    if labels is None:
        rows = _read_table(predictions, HEADER, numeric)
        return [row[0] for row in rows], [row[1] for row in rows]
    left, right = _read_table(predictions, HEADER[:1], numeric), _read_table(labels, HEADER[1:], numeric)
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


def _read_table(path: Path, names: tuple[str, ...], numeric: bool) -> list[list[Value]]:
    lines = read_lines(path)
    rows = [
        [_value(cell, numeric, path, number) for cell in _cells(path, number, line, names)]
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


def _value(cell: str, numeric: bool, path: Path, number: int) -> Value:
    try:
        value = float(cell)
    except ValueError:
        if not numeric:
            return cell
        raise UserError(f"{path}, line {number}: {cell!r} is not a number", "give one number") from None
    if numeric and not math.isfinite(value):
        raise UserError(f"{path}, line {number}: {cell!r} is not a finite number", "give a finite number")
    if numeric:
        return value
    if _WHOLE.fullmatch(cell):
        return int(value)
    raise UserError(
        f"{path}, line {number}: {cell!r} is not a class", "give the class's number or name, not its score"
    )


def _tag_row(path: Path, number: int, line: str) -> tuple[str, str]:
    cells = _BLANKS.split(line.strip(" \t\r\f\v"))
    if len(cells) != 3:
        raise UserError(
            f"{path}, line {number}: {len(cells)} columns where 3 are expected ({line!r})",
            "give on every line: token, gold tag, predicted tag; a blank line between sentences",
        )
    for tag in cells[1:]:
        if not _TAG.fullmatch(tag):
            raise UserError(f"{path}, line {number}: {tag!r} is not a tag", "tags are O, B-type and I-type")
    return cells[1], cells[2]
