"""Reading what `score` scores: lines, columns, groups. Every refusal names the file and, where it has one, the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autolora_bench.errors import UserError


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file, without their ends; one newline at the end of the file makes no further line.

    A byte-order mark and carriage returns at line ends are dropped. Only the newline separates lines: other
    characters that Unicode calls separators belong to the text. In a file ending in .jsonl every line is a JSON text
    or number, or an object whose `output` is one; line breaks inside are blanks.

    Raises:
        UserError: the file is missing, empty, or not UTF-8; a line that is not such JSON.
    """
    if holds_json(path):
        return [_text(path, number, value) for number, value in read_values(path)]
    return [line.removesuffix("\r") for line in _lines(path)]


def read_values(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of each line of JSON.

    Raises:
        UserError: the file is missing, empty, or not UTF-8; a line that is not JSON.
    """
    for number, line in enumerate(_lines(path), start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: not JSON ({error})", "give plain text another ending"
            ) from error
        yield number, value


def holds_json(path: Path) -> bool:
    """Whether the file's name says that every line is JSON."""
    return path.suffix.lower() == ".jsonl"


def _lines(path: Path) -> list[str]:
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise UserError(f"{path}: the file is empty", "give a file with one line for each example")
    return lines


def _text(path: Path, number: int, value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("output")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(
            f"{path}, line {number}: neither a text or number nor an object with an `output`",
            "give one line for each example, as in a run's evaluate/test.jsonl of this task",
        )
    return " ".join(str(value).splitlines())


def read_text(path: Path) -> str:
    """Text of a UTF-8 file, byte-order mark dropped.

    Raises:
        UserError: the file is missing or not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}", "check the path and that it is a file you may read"
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8", "save the file as UTF-8") from error


def check_counts(predictions: Path, found: int, references: Path, expected: int) -> None:
    """Refuse two files that do not hold the same number of segments."""
    if found != expected:
        raise UserError(
            f"{predictions} has {found} segments, {references} has {expected}",
            "give one line for each segment, in the same order; an empty output is an empty line",
        )
