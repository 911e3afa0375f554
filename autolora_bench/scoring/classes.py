"""Classes or values and their labels: from one file with both, from two, or from GLUE's own."""

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from autolora_bench.config.task import ClassificationTask
from autolora_bench.data.files import local_source
from autolora_bench.data.glue_tsv import read_glue_tsv
from autolora_bench.errors import UserError
from autolora_bench.metrics.classification import CORRELATIONS, GLUE_CLASSES, GLUE_METRICS
from autolora_bench.scoring.predictions import (
    check_alike,
    check_counts,
    check_ids,
    read_ids,
    read_lines,
    two_spellings,
)
from autolora_bench.tables.profile import spells_number
from autolora_bench.tables.roles import INDICES, LABELS
from autolora_bench.tables.text_files import BLANKS, holds_json, quote, read_text

Value = int | float | str
Values = list[Value]
HEADER = ("prediction", "label")
HEADERS = re.compile(
    r"(y_)?(pred|prediction|predicted|label|gold|target|reference|answer|output|truth)s?|y|y_true|y_hat|ground_truth|"
    rf"{'|'.join((*LABELS, *INDICES))}",
    re.I,
)
"""Words that name columns."""
PREDICTED = re.compile(r"(pred|prediction|predicted)s?")
"""First or last word of a longer name of a column."""
LAST = re.compile(r"(label|output)s?")
"""Last word of one; others end names of classes too: no_answer, first_class, rose_gold."""
VARIANTS = {"mnli_mm": "mnli"}
"""Scored under a name of its own -> the task whose files have its layout."""
SHOWN = 5
LONGEST = 15
"""Digits of a whole number that a float holds exactly."""
_BETWEEN = re.compile(r"[-_.\s]+|(?<=[a-z])(?=[A-Z])")
_ROW = re.compile(r"\s*([^\s,;]+)[,;]\S")
"""A line that has more than one cell in a table without tabs."""
_BLANKS = re.compile(f"[{BLANKS}]+")
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0*)?", re.ASCII)
_CODE = re.compile(rf"0\d{{1,{LONGEST - 1}}}", re.ASCII)
"""Digits that are no number's own spelling: 01 is a name, and another class than 1."""


def read_labelled(
    predictions: Path, references: Path | None, task: str, metrics: Sequence[str]
) -> tuple[Values, Values]:
    """Predictions and labels of a GLUE task, or of the kind `classification`: numbers where the classes are known.

    Args:
        predictions: file with both in two columns, or where there are references with predictions alone.
        references: labels one a line, or a file of the GLUE task's own.
        task: the task's name, or the kind.
        metrics: correlations read numbers, others classes.

    Raises:
        UserError: naming file and line of the first malformed line, both line counts, or why the metrics cannot be.
    """
    classes = GLUE_CLASSES.get(task, ())
    read = partial(read_columns, numeric=_are_of_values(metrics), classes=classes)
    if references is None:
        predicted, labels = read(predictions, HEADER)
    else:
        (predicted,) = read(predictions, HEADER[:1])
        if task in GLUE_METRICS and is_glue_file(references):
            labels = read_glue_labels(references, task, named=_are_names(predicted))
        else:
            (labels,) = read(references, HEADER[1:])
        check_counts(predictions, len(predicted), references, len(labels))
        check_ids(predictions, references, read_ids(references))
    _check_spelling(predicted, labels, classes)
    if classes:
        return _numbers(predicted, classes), _numbers(labels, classes)
    if any(isinstance(value, str) for value in (*predicted, *labels)):  # scikit-learn takes no mixture
        return [str(value) for value in predicted], [str(value) for value in labels]
    return predicted, labels


def _are_of_values(metrics: Sequence[str]) -> bool:
    of_values = metrics[0] in CORRELATIONS
    for name in metrics:
        if (name in CORRELATIONS) is not of_values:
            raise UserError(
                f"metrics: of {metrics[0]} and {name} one is of values, the other of classes",
                "ask for one kind at a time",
            )
    return of_values


def _are_names(values: Values) -> bool:
    return any(isinstance(value, str) and not _CODE.fullmatch(value) for value in values)


def _numbers(values: Values, classes: Sequence[str]) -> Values:
    return [classes.index(value) if isinstance(value, str) else value for value in values]


def _check_spelling(predicted: Values, labels: Values, classes: Sequence[str]) -> None:
    """Refuse numbers scored against names, whose order may be another."""
    if _are_names(predicted) != _are_names(labels):
        sides = "names and labels numbers" if _are_names(predicted) else "numbers and labels names"
        raise UserError(f"predictions are {sides}", "write both as numbers or both as names")
    if classes and len({isinstance(value, str) for value in (*predicted, *labels)}) > 1:
        raise UserError("there are both numbers and names", "write all as numbers or all as names")
    if not classes and not any(isinstance(value, float) for value in (*predicted, *labels)):
        _check_alike({*predicted}, {*labels})


def _check_alike(predicted: set[Value], labels: set[Value]) -> None:
    """Refuse classes that anybody may have, where predictions seem to spell them otherwise than the labels do: each
    would be counted as wrong."""
    check_alike({str(value) for value in predicted}, {str(value) for value in labels})
    ours, theirs = _by_number(predicted), _by_number(labels)
    for number in ours.keys() & theirs.keys():
        if len(ours[number]) == len(theirs[number]) == 1 and ours[number] != theirs[number]:
            raise two_spellings(*sorted(map(str, ours[number] | theirs[number])))
    apart = min(len(predicted), len(labels)) > 1 and predicted.isdisjoint(labels)
    numbers = {value for value in predicted - labels if not isinstance(value, str)}
    if apart or (numbers and _are_names([*labels]) and numbers <= {*range(len(labels) + 1)}):
        shown = [
            ", ".join(quote(str(value)) for value in sorted(values, key=str)[:SHOWN])
            for values in (predicted, labels)
        ]
        raise UserError(
            f"predictions and labels are not of the same classes: {shown[0]}; {shown[1]}",
            "spell the classes alike, a prediction and nothing else on each line",
        )


def _by_number(values: set[Value]) -> dict[int, set[Value]]:
    """Number -> how it is spelled, codes among them."""
    found: dict[int, set[Value]] = {}
    for value in values:
        if isinstance(value, int) or (isinstance(value, str) and _CODE.fullmatch(value)):
            found.setdefault(int(value), set()).add(value)
    return found


def read_columns(
    path: Path, names: tuple[str, ...], *, numeric: bool, classes: Sequence[str] = ()
) -> list[list[Value]]:
    """The columns of a file, one list for each name.

    Columns are separated by a tab or blanks; other white space belongs to a name. A first line with the names is a
    header. In a file ending in .jsonl or .ndjson there is one column, blanks or not.

    Args:
        path: the file.
        names: what the columns hold: `HEADER`, or a part of it.
        numeric: read real numbers; else classes, which are whole numbers or names.
        classes: names of all classes, in the order of their numbers; without them any class is taken.

    Raises:
        UserError: naming the first malformed line; a first column that numbers the examples.
    """

    def value(cell: str, number: int) -> Value:
        return _number(cell, path, number) if numeric else _class(cell, classes, path, number)

    lines = read_lines(path, columns=len(names))
    headed = tuple(_split(lines[0].lower())) == names
    if not classes and not holds_json(path):
        if len(names) == 1 and not numeric:
            _check_one_column(path, lines, names[0])
        elif len(names) > 1 and not headed:
            _check_no_index(path, lines)
    rows = [
        [value(cell, number) for cell in _cells(path, number, line, names)]
        for number, line in enumerate(lines, start=1)
        if number > 1 or not headed
    ]
    if not rows:
        raise UserError(f"{path}: a header and no example", "give one line for each example")
    if not classes and not headed and len(rows) > 1:
        _check_first(path, rows, names)
    return [list(column) for column in zip(*rows, strict=True)]


def _check_one_column(path: Path, lines: Sequence[str], name: str) -> None:
    """Refuse rows that begin with an id each, below any first line: each row would be a class of its own."""
    marks = [mark for line in lines[1:] if (mark := _ROW.match(line))]
    if 1 < len(marks) == len(lines) - 1 and len({mark[1] for mark in marks}) == len(marks):
        raise UserError(
            f"{path}, line 2: there is a first column of numbers or ids ({quote(lines[1])})",
            f"give the {name}s alone, one a line",
        )


def _check_no_index(path: Path, lines: Sequence[str]) -> None:
    """Refuse a first column that counts the lines, from 0 or 1 and below any header, as predictions."""
    rows = [_split(line) for line in lines]
    below = rows if rows[0][0].isdecimal() else rows[1:]
    counted = [str(number) for number in range(len(below) + 1)]
    first, others = [row[0] for row in below], {cell for row in below for cell in row[1:]}
    if len(first) > 2 and first in (counted[:-1], counted[1:]) and not {*first} <= others:
        raise UserError(
            f"{path}, line 1: the lines have a first column that counts them ({quote(lines[0])})",
            "give predictions alone and their labels in references=FILE; "
            f"if these are predictions, write `{' '.join(HEADER)}` as the first line",
        )


def _check_first(path: Path, rows: Sequence[Sequence[Value]], names: tuple[str, ...]) -> None:
    """Refuse a first line of names that no other line holds, where these hold numbers or it has a header's words."""
    first, others = rows[0], {value for row in rows[1:] for value in row}
    if not all(_are_names([value]) and value not in others for value in first):
        return
    words = [word.strip() for value in first for word in re.split("[,;]", str(value))]
    ends = {part for value in others for part in _parts(str(value))[-1:]}
    if not _are_names(list(others)) or all(_names_column(path, word, ends) for word in words):
        raise UserError(
            f"{path}, line 1: {quote(' '.join(map(str, first)))} looks like a header",
            f"write it as `{' '.join(names)}`; if it is an example, put such a line before it",
        )


def _names_column(path: Path, name: str, ends: set[str]) -> bool:
    """Whether this is a column's name; JSON has no header, and a longer name that ends as a class does is a class."""
    if HEADERS.fullmatch(name):
        return True
    parts = _parts(name)
    if holds_json(path) or len(parts) < 2:
        return False
    if all(part == "true" or HEADERS.fullmatch(part) for part in parts):
        return True
    told = any(PREDICTED.fullmatch(part) for part in (parts[0], parts[-1])) or LAST.fullmatch(parts[-1])
    return bool(told) and parts[-1] not in ends


def _parts(name: str) -> list[str]:
    """The words of a name, in small letters."""
    return [part.lower() for part in _BETWEEN.split(name) if part]


def _cells(path: Path, number: int, line: str, names: tuple[str, ...]) -> list[str]:
    cells = _split(line) if not holds_json(path) else [line.strip(BLANKS)]
    if len(names) == 1:
        cells = [cell for cell in cells if cell]  # a column beside it that is empty is none
    if names == HEADER and any(cells[:1]) and not any(cells[1:]):
        raise UserError(
            f"{path}, line {number}: a prediction and no label ({quote(line)})",
            "write the label behind a tab, or give labels one a line (or GLUE's own dev.tsv) in references=FILE",
        )
    if len(cells) != len(names) or not all(cells):
        raise UserError(
            f"{path}, line {number}: {sum(map(bool, cells))} columns where {len(names)} are expected ({quote(line)})",
            f"give on every line: {' and '.join(names)}" + (", separated by a tab" if len(names) > 1 else ""),
        )
    return cells


def _split(line: str) -> list[str]:
    if "\t" in line:
        return [cell.strip(BLANKS) for cell in line.rstrip(BLANKS).split("\t")]
    return _BLANKS.split(line.strip(BLANKS))


def _number(cell: str, path: Path, number: int) -> float:
    if not spells_number(cell):
        raise UserError(f"{path}, line {number}: {quote(cell)} is not a number", "give one number")
    value = float(cell)
    if not math.isfinite(value):
        raise UserError(
            f"{path}, line {number}: {quote(cell)} is not a finite number", "give a finite number"
        )
    return value


def _class(cell: str, classes: Sequence[str], path: Path, number: int) -> int | str:
    whole = _WHOLE.fullmatch(cell) or (classes and _CODE.fullmatch(cell))
    value: int | str = int(float(cell)) if len(cell) <= LONGEST and whole else cell
    if value == cell and spells_number(cell) and not _CODE.fullmatch(cell):
        raise UserError(
            f"{path}, line {number}: {quote(cell)} is not a class",
            "give the class's number or name, not its score"
            if math.isfinite(float(cell))
            else "give every line a class; one that is called so: call it otherwise in both files",
        )
    if classes and value not in (*classes, *range(len(classes))):
        known = ", ".join(f"{index} or {name}" for index, name in enumerate(classes))
        raise UserError(
            f"{path}, line {number}: {quote(cell)} is none of the task's classes",
            f"classes are {known}; a header is `prediction label`; for classes of your own: task=classification",
        )
    return value


def is_glue_file(path: Path) -> bool:
    """Whether the file has columns, as GLUE's have; labels alone have none."""
    return "\t" in read_text(path).partition("\n")[0].strip()


def read_glue_labels(path: Path, task: str, *, named: bool) -> list[Value]:
    """The labels of one of the task's files, as data=local reads them.

    Args:
        path: the file.
        task: name of the GLUE task.
        named: write classes by name also where the file has their numbers.

    Raises:
        UserError: the file is malformed, or is not of this task; with its line.
    """
    from autolora_bench.config.compose import compose_config, composer, to_objects

    with composer():
        config = to_objects(compose_config([f"task={VARIANTS.get(task, task)}"])).task
    columns, _ = read_glue_tsv([path], config)
    labels: list[Value] = columns["label"]
    if isinstance(config, ClassificationTask) and (named or local_source(config).labels is None):
        return [config.labels[int(label)] for label in labels]
    return labels
