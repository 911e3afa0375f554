"""The E2E NLG challenge's tables: a record (`mr`) and a text of it per row, which is a reference or an output."""

import csv
from collections.abc import Sequence
from pathlib import Path

from autolora_bench.config.task import TaskConfig
from autolora_bench.data.files import local_source
from autolora_bench.data.records import group_meanings, parse_meaning
from autolora_bench.data.schema import Columns
from autolora_bench.errors import UserError
from autolora_bench.tables.text_files import column, read_table, read_text

OUTPUT_NAMES = ("output", "ref")
"""Names of the column of outputs in a table of them; its other column is `mr`. Any case."""


def read_e2e_csv(paths: Sequence[Path], task: TaskConfig) -> tuple[Columns, list[str]]:
    """Records with their references, grouped by identical record.

    A line break inside a reference stays, as a single LF: the files mix CRLF and LF.

    Raises:
        UserError: a column is missing, a record is not of the form key[value], or a reference is blank; with its line.
    """
    columns = local_source(task).columns
    names = columns.get("text", "mr"), columns.get("references", "ref")
    pairs = [pair for path in paths for pair in read_references(path, *names)]
    grouped = group_meanings(pairs)
    return grouped, [f"{len(pairs)} references of {len(grouped['text'])} records"]


def read_references(path: Path, record: str = "mr", reference: str = "ref") -> list[tuple[str, str]]:
    """(record, reference) of each row of the challenge's CSV, or of the same table with tabs.

    Raises:
        UserError: a column is missing, a row has another number of cells, a record is not of the form key[value], or a
            reference is blank; with its line.
    """
    rows = _read_rows(path, record, reference)
    if not rows:
        raise UserError(f"{path} has a header line and no rows", "download the file again")
    for number, text, words in rows:
        try:
            parse_meaning(text)
            if not words.strip():
                raise ValueError("the reference is blank")
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}", "correct the line") from error
    return [(text, words) for _, text, words in rows]


def read_outputs(path: Path, text: str) -> list[tuple[int, str, str]] | None:
    """(line, record, output) of each row of a table of outputs, whose content is `text`; None for any other text.

    As tuetschek/e2e-metrics reads them: tabs or commas, quoted or not, a first line with `MR` and `output`, or none
    where the first line's first cell is a record. Of a text that begins like one, a blank follows the comma.

    Raises:
        UserError: a row has another number of cells, or without a first line of names not two; with its line.
    """
    first = text.partition("\n")[0].removesuffix("\r")
    delimiter = _delimiter(first)
    cells = next(csv.reader([first], delimiter=delimiter), [])
    names = [cell.strip().lower() for cell in cells]
    found = [name for name in OUTPUT_NAMES if name in names]
    if "mr" in names and found:
        rows = read_table(path, delimiter, text)
        places = names.index("mr"), names.index(found[0])
        return [(number, cells[places[0]], cells[places[1]]) for number, cells in rows[1:]]
    if len(cells) < 2 or not _is_record(cells[0]) or (delimiter == "," and cells[1].startswith(" ")):
        return None
    if len(cells) > 2:
        raise UserError(
            f"{path}, line 1: {len(cells)} columns where a record and an output are expected",
            "put an output that holds the separator in quotation marks, or name the columns: MR and output",
        )
    return [(number, record, output) for number, (record, output) in read_table(path, delimiter, text)]


def _read_rows(path: Path, record: str, reference: str) -> list[tuple[int, str, str]]:
    text = read_text(path)
    (_, header), *rows = read_table(path, _delimiter(text.partition("\n")[0]), text)
    mend = "check that the file is the publisher's, or correct local.columns in the task's YAML"
    places = [column(path, header, name, mend) for name in (record, reference)]
    return [(number, cells[places[0]], cells[places[1]]) for number, cells in rows]


def _delimiter(first_line: str) -> str:
    return "\t" if "\t" in first_line else ","


def _is_record(text: str) -> bool:
    try:
        return bool(parse_meaning(text))
    except ValueError:
        return False
