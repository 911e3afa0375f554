"""The E2E NLG challenge's CSV: a record (`mr`) and one reference (`ref`) per row."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autolora_bench.config.task import TaskConfig
from autolora_bench.data.files import local_source, read_text
from autolora_bench.data.records import group_meanings, parse_meaning
from autolora_bench.data.schema import Columns
from autolora_bench.errors import UserError


def read_e2e_csv(paths: Sequence[Path], task: TaskConfig) -> tuple[Columns, list[str]]:
    """Records with their references, grouped by identical record.

    A line break inside a reference stays, as a single LF: the files mix CRLF and LF.

    Raises:
        UserError: a column is missing, a record is not of the form key[value], or a reference is blank; with its line.
    """
    columns = local_source(task).columns
    record, reference = columns.get("text", "mr"), columns.get("references", "ref")
    pairs = [pair for path in paths for pair in _pairs(path, record, reference)]
    grouped = group_meanings(pairs)
    return grouped, [f"{len(pairs)} references of {len(grouped['text'])} records"]


def _pairs(path: Path, record: str, reference: str) -> Iterator[tuple[str, str]]:
    rows = csv.reader(io.StringIO(read_text(path).replace("\r\n", "\n"), newline=""), strict=True)
    header = next(rows)
    missing = [name for name in (record, reference) if name not in header]
    if missing:
        raise UserError(
            f"{path}: there is no column {missing[0]!r}; the first line has {', '.join(header)}",
            "check that the file is the publisher's, or correct local.columns in the task's YAML",
        )
    count = 0
    for text, words in _cells(path, rows, header.index(record), header.index(reference), len(header)):
        count += 1
        yield text, words
    if not count:
        raise UserError(f"{path} has a header line and no rows", "download the file again")


def _cells(path: Path, rows: Any, record: int, reference: int, width: int) -> Iterator[tuple[str, str]]:
    try:
        for cells in rows:
            if len(cells) != width:
                raise UserError(
                    f"{path}, line {rows.line_num}: {len(cells)} columns where {width} are expected",
                    "correct the line's commas and quotes",
                )
            parse_meaning(cells[record])
            if not cells[reference].strip():
                raise ValueError("the reference is blank")
            yield cells[record], cells[reference]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}, line {rows.line_num}: {error}", "correct the line") from error
