"""Reading what `score` scores: lines, columns, groups. Every refusal names the file and, where it has one, the line."""

from collections.abc import Iterator
from pathlib import Path

from autolora_bench.errors import UserError


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file, without their ends; one newline at the end of the file makes no further line.

    A byte-order mark and carriage returns at line ends are dropped. Only the newline separates lines: other
    characters that Unicode calls separators belong to the text.

    Raises:
        UserError: the file is missing, empty, or not UTF-8.
    """
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise UserError(f"{path}: the file is empty", "give a file with one line for each example")
    return [line.removesuffix("\r") for line in lines]


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


def read_blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Runs of lines that are not blank, each with its number (from 1); blank lines separate them."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def check_counts(predictions: Path, found: int, references: Path, expected: int) -> None:
    """Refuse two files that do not hold the same number of segments."""
    if found != expected:
        raise UserError(
            f"{predictions} has {found} segments, {references} has {expected}",
            "give one line for each segment, in the same order; an empty output is an empty line",
        )
