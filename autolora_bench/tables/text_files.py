"""Text files that others wrote: bytes, text, lines, JSON lines, tables. Every refusal names the file and its line."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autolora_bench.errors import UserError
from autolora_bench.tables.json_rows import named_once

BLANKS = " \t\r\f\v"
"""What parts columns or fills a blank line; other white space (a no-break space) belongs to the text."""
QUOTED = 80
JSON_LINES = (".jsonl", ".ndjson")
"""Endings of files whose every line is JSON."""


def quote(text: object) -> str:
    """What a message shows of a file's content: one line of printable characters, cut where it is long."""
    whole = text if isinstance(text, str) else repr(text)
    shown = repr(whole[:QUOTED]) if isinstance(text, str) else whole[:QUOTED]
    return shown if len(whole) <= QUOTED else f"{shown}... ({len(whole)} characters)"


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises UserError where it cannot be read or holds nothing but blanks."""
    content = _content(path)
    if not content.strip():
        raise UserError(f"{path} is empty", "give a file with content, or download it again")
    return content


def read_text(path: Path, *, may_be_blank: bool = False) -> str:
    """A UTF-8 file without its byte-order mark, line ends as they are.

    Args:
        path: the file.
        may_be_blank: take a file of blank lines, which are outputs of a model that says nothing.

    Raises:
        UserError: the file cannot be read, is empty or is not UTF-8.
    """
    content = _content(path) if may_be_blank else read_bytes(path)
    if not content:
        raise UserError(f"{path} is empty", "give a file with content, or download it again")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8",
            "convert the file to UTF-8",
        ) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "check the path and that it is a file you may read"
        ) from error


def lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end). Only LF and CRLF end a line: fields may hold any other separator."""
    parts = text.split("\n")
    if parts[-1] == "":
        parts.pop()
    for number, line in enumerate(parts, start=1):
        yield number, line.removesuffix("\r")


def holds_json(path: Path) -> bool:
    """Whether the file's name says that every line is JSON."""
    return path.suffix.lower() in JSON_LINES


def read_values(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of each line of JSON.

    Raises:
        UserError: the file is missing, empty, or not UTF-8; a line that is not JSON, or whose object has a name twice.
    """
    for number, line in lines(read_text(path, may_be_blank=True)):
        try:
            value = json.loads(line, object_pairs_hook=named_once)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(
                f"{path}, line {number}: not JSON ({error})", "give plain text another ending"
            ) from error
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}", "correct the line") from error
        yield number, value


def read_table(
    path: Path, delimiter: str = ",", text: str | None = None, *, keep_blank: bool = False
) -> list[tuple[int, list[str]]]:
    """Rows of a table whose cells may be quoted, its header first, each with the line where it ends.

    A line break inside a quoted cell is a single LF: such files mix CRLF and LF.

    Args:
        path: the file.
        delimiter: what parts the cells.
        text: the file's content, where it has been read.
        keep_blank: a blank line is a row of one empty cell; else it is none.

    Raises:
        UserError: the file cannot be read, its quotes do not fit, or a row has more or fewer cells than the header.
    """
    content = (read_text(path) if text is None else text).replace("\r\n", "\n")
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if not cells:
                if not keep_blank:
                    continue
                cells = [""]
            if rows and len(cells) != len(rows[0][1]):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(cells)} columns where {len(rows[0][1])} are expected",
                    "put a cell that holds the separator or a quotation mark in quotation marks",
                )
            rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}", "correct the line's quotes") from error
    if not rows:
        raise UserError(f"{path} is empty", "give a file with content, or download it again")
    return rows


def named_rows(
    path: Path, columns: Iterable[str], text: str | None = None
) -> list[tuple[int, dict[str, str]]]:
    """Line and cells by name of every row of a CSV file below its first line, which must name `columns`.

    Raises:
        UserError: as `read_table`, or a column is missing.
    """
    (_, header), *rows = read_table(path, text=text)
    absent = [name for name in columns if name not in header]
    if absent:
        raise UserError(
            f"{path} has no column {', '.join(absent)}", f"its first line must name {','.join(columns)}"
        )
    return [(number, dict(zip(header, cells, strict=True))) for number, cells in rows]


def column(path: Path, header: list[str], name: str, mend: str) -> int:
    """Position of a column. Raises UserError with `mend` where no column, or more than one, has the name."""
    if header.count(name) != 1:
        found = ", ".join(quote(cell)[1:-1] for cell in header[:20]) or "no names"
        many = "more than one" if name in header else "no"
        raise UserError(f"{path}: there is {many} column {name!r}; the first line has {found}", mend)
    return header.index(name)
