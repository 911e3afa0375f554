"""What `score` reads of predictions: lines of text or JSON, and the records or ids they say they are of."""

import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from autolora_bench.errors import UserError
from autolora_bench.tables.roles import INDICES
from autolora_bench.tables.text_files import (
    QUOTED,
    holds_json,
    lines,
    quote,
    read_table,
    read_text,
    read_values,
)

IDS = ("eid", *INDICES)
"""Names, in any case, that a line of JSON may have for its example's id; the first that both files have is taken."""
Ids = Mapping[str, Sequence[str]]
"""Name -> the id that each line has by it, empty where it has none."""


def read_lines(path: Path, text: str | None = None, *, columns: int = 1) -> list[str]:
    """Lines of a UTF-8 file, without their ends; one newline at the end of the file makes no further line.

    A byte-order mark and carriage returns at line ends are dropped. Only the newline separates lines: other
    characters that Unicode calls separators belong to the text. In a file ending in .jsonl or .ndjson every line is a
    JSON text or number, or an object whose `output` is one; line breaks inside are blanks, as in a cell of a quoted
    table: a file ending in .csv, without a tab in its first line, where some line begins with a quotation mark.

    Args:
        path: the file.
        text: its content, where it has been read: a pipe can be read only once.
        columns: how many each line shall have; of more the quotation marks stay.

    Raises:
        UserError: the file is missing, empty, or not UTF-8; a line that is not such JSON; JSON in a file of another
            ending; a quoted table of more than one column.
    """
    if holds_json(path):
        return [_text(path, number, value) for number, value in read_values(path)]
    content = read_text(path, may_be_blank=True) if text is None else text
    found = [line for _, line in lines(content)]
    _check_plain(path, content, found)
    if columns == 1 and _is_quoted(path, found):
        return [_cell(path, number, row) for number, row in read_table(path, text=content, keep_blank=True)]
    return found


def _is_quoted(path: Path, found: Sequence[str]) -> bool:
    quoted = any(line.startswith('"') for line in found)
    return quoted and path.suffix.lower() == ".csv" and "\t" not in found[0]


def _check_plain(path: Path, content: str, found: Sequence[str]) -> None:
    """Refuse JSON where the file's ending says nothing of it: it would be scored as words."""
    named = path.suffix.lower() == ".json"
    if named and isinstance(_parsed(content), list):
        raise UserError(
            f"{path} is one list of JSON",
            "write its values one a line, in a file whose name ends in .jsonl",
        )
    kinds = (dict, list, str) if named else (dict, list)  # a line of plain text may be in quotation marks
    values = [_parsed(line) for line in found if line.strip()]
    if values and all(isinstance(value, kinds) for value in values):
        lists = any(isinstance(value, list) for value in values)
        raise UserError(
            f"{path} holds lines of JSON",
            "write what the lists hold as plain lines; E2E's references of one output stand between blank lines"
            if lists
            else "give them in a file whose name ends in .jsonl",
        )
    if named and isinstance(_parsed(content), dict):
        raise UserError(
            f"{path} is one object of JSON",
            "write one line for each example, in a file whose name ends in .jsonl",
        )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _cell(path: Path, number: int, cells: Sequence[str]) -> str:
    if len(cells) != 1:
        raise UserError(
            f"{path}, line {number}: {len(cells)} columns where 1 is expected ({quote(','.join(cells))})",
            "give one column; put a cell that holds a comma in quotation marks",
        )
    return " ".join(cells[0].splitlines())


def read_records(path: Path) -> list[tuple[int, str]] | None:
    """Line and `record` of each line of a run's own outputs; None where the file names no records.

    Raises:
        UserError: as `read_lines`.
    """
    if not holds_json(path):
        return None
    found = [(number, value.get("record")) for number, value in read_values(path) if isinstance(value, dict)]
    return [(number, record) for number, record in found if isinstance(record, str)] or None


def read_ids(path: Path) -> Ids | None:
    """The ids that lines of JSON have, by each name of `IDS`; None where the file is none of JSON lines.

    Raises:
        UserError: as `read_lines`.
    """
    if not holds_json(path):
        return None
    found = [
        {name.lower(): cell for name, cell in value.items()} if isinstance(value, dict) else {}
        for _, value in read_values(path)
    ]
    return {name: [_id(line.get(name)) for line in found] for name in IDS}


def _id(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # of a column with a gap, as pandas writes it
        value = int(value)
    return str(value) if isinstance(value, str | int) else ""


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


def check_ids(predictions: Path, references: Path, expected: Ids | None) -> None:
    """Refuse predictions in another order than the references: each id that these have too must be its place's.

    Args:
        predictions: lines of JSON; others name no ids.
        references: for messages.
        expected: the references' ids by name; None where the file names none.
    """
    ours, theirs = (
        {name: ids for name, ids in (found or {}).items() if any(ids)}
        for found in (read_ids(predictions), expected)
    )
    if not ours or not theirs:
        return
    name = next((name for name in ours if name in theirs), "")
    ids, wanted_ids = (found.get(name) or next(iter(found.values())) for found in (ours, theirs))
    known = {*wanted_ids} - {""}
    for number, (found, wanted) in enumerate(zip(ids, wanted_ids, strict=False), 1):
        if found in known and found != wanted:
            raise UserError(
                f"{predictions}, line {number}: its id is {quote(found)}, that of {references} {quote(wanted)}",
                "give the outputs in the references' order; leave out ids that are not the references'",
            )


def check_alike(predicted: Collection[str], labels: Collection[str]) -> None:
    """Refuse a predicted name that the labels spell otherwise: it would be counted as wrong.

    Where the labels themselves have two names that a reader hardly tells apart, such names are two.
    """
    spelled = {_plain(name): name for name in labels}
    if len(spelled) < len({*labels}):
        return
    for name in sorted({*predicted} - {*labels}):
        if _plain(name) in spelled:
            raise two_spellings(*sorted((name, spelled[_plain(name)])))


def two_spellings(one: str, other: str) -> UserError:
    """What is said of a class that predictions and labels spell in two ways."""
    alike = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    shown = [ascii(name[:QUOTED]) if alike else quote(name) for name in (one, other)]
    return UserError(
        f"one class is spelled {shown[0]} and {shown[1]}", "spell it alike in predictions and labels"
    )


def _plain(name: str) -> str:
    """A class's name without what a reader does not see or overlooks: signs of no width, kinds of blanks and hyphens,
    ways to compose a letter, case and quotation marks."""
    composed = unicodedata.normalize("NFKC", name)
    shown = "".join(char for char in composed if unicodedata.category(char) != "Cf")
    return " ".join(shown.replace("-", "_").split()).strip("\"'").casefold()
