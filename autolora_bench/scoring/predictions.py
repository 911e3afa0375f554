"""What `score` reads of predictions: lines of text or JSON, and the records or ids they say they are of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autolora_bench.errors import UserError
from autolora_bench.tables.roles import INDICES
from autolora_bench.tables.text_files import holds_json, lines, quote, read_text, read_values

IDS = ("eid", *INDICES)
"""Names that a line of JSON may have for its example's id; the first that it has is taken."""


def read_lines(path: Path, text: str | None = None) -> list[str]:
    """Lines of a UTF-8 file, without their ends; one newline at the end of the file makes no further line.

    A byte-order mark and carriage returns at line ends are dropped. Only the newline separates lines: other
    characters that Unicode calls separators belong to the text. In a file ending in .jsonl every line is a JSON text
    or number, or an object whose `output` is one; line breaks inside are blanks.

    Args:
        path: the file.
        text: its content, where it has been read: a pipe can be read only once.

    Raises:
        UserError: the file is missing, empty, or not UTF-8; a line that is not such JSON.
    """
    if holds_json(path):
        return [_text(path, number, value) for number, value in read_values(path)]
    content = read_text(path, may_be_blank=True) if text is None else text
    return [line for _, line in lines(content)]


def read_records(path: Path) -> list[tuple[int, str]] | None:
    """Line and `record` of each line of a run's own outputs; None where the file names no records.

    Raises:
        UserError: as `read_lines`.
    """
    if not holds_json(path):
        return None
    found = [(number, value.get("record")) for number, value in read_values(path) if isinstance(value, dict)]
    return [(number, record) for number, record in found if isinstance(record, str)] or None


def read_ids(path: Path) -> list[str] | None:
    """The id that each line of JSON names, empty where it names none; None where the file is none of JSON lines.

    Raises:
        UserError: as `read_lines`.
    """
    if not holds_json(path):
        return None
    return [_id(value) for _, value in read_values(path)]


def _id(value: Any) -> str:
    named = next((value[name] for name in IDS if name in value), "") if isinstance(value, dict) else ""
    return str(named) if isinstance(named, str | int) else ""


def _text(path: Path, number: int, value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("output")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(
            f"{path}, line {number}: neither a text or number nor an object with an `output`",
            "give one line for each example, as in a run's evaluate/test.jsonl of this task",
        )
    return " ".join(str(value).splitlines())


def check_counts(predictions: Path, found: int, references: Path, expected: int) -> None:
    """Refuse two files that do not hold the same number of segments."""
    if found != expected:
        raise UserError(
            f"{predictions} has {found} segments, {references} has {expected}",
            "give one line for each segment, in the same order; an empty output is an empty line",
        )


def check_records(
    predictions: Path,
    found: Sequence[tuple[int, str]] | None,
    references: Path,
    expected: Sequence[str] | None,
) -> None:
    """Refuse outputs of other records than the references', or in another order, where both files name them."""
    if found is None or expected is None:
        return
    check_counts(predictions, len(found), references, len(expected))
    for (number, record), wanted in zip(found, expected, strict=True):
        if record.strip() != wanted.strip():
            raise UserError(
                f"{predictions}, line {number}: its record is {quote(record)}, that of {references} {quote(wanted)}",
                "give the outputs of the references' records, in their order",
            )


def check_ids(predictions: Path, references: Path, expected: Sequence[str] | None) -> None:
    """Refuse predictions in another order than the references: each id that these have too must be its place's.

    Args:
        predictions: lines of JSON; others name no ids.
        references: for messages.
        expected: an id for each of the references, empty where there is none; None where the file names none.
    """
    known = {*(expected or ())} - {""}
    for number, (found, wanted) in enumerate(
        zip(read_ids(predictions) or (), expected or (), strict=False), 1
    ):
        if found in known and found != wanted:
            raise UserError(
                f"{predictions}, line {number}: its id is {quote(found)}, that of {references} {quote(wanted)}",
                "give the outputs in the references' order; leave out ids that are not the references'",
            )
