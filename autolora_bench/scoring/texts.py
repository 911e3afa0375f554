"""Outputs of the data-to-text benchmarks and their references: E2E's two files, WebNLG's XML or numbered files."""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from autolora_bench.data.e2e_csv import read_outputs, read_references
from autolora_bench.data.records import GOOD, entry_columns
from autolora_bench.data.webnlg_xml import read_entries
from autolora_bench.errors import UserError
from autolora_bench.scoring.predictions import (
    IDS,
    Ids,
    check_counts,
    check_ids,
    check_records,
    read_ids,
    read_lines,
    read_records,
)
from autolora_bench.tables.text_files import holds_json, quote, read_text

TABLES = (".csv", ".tsv")
_NUMBERED = re.compile(r"\s*(\d{1,18})\s*([\t,])")
MOST = 100
"""Files of references that are looked for; no protocol uses as many."""
MEND = "give the XML test file, a folder with reference0, reference1, ..., or the path they begin with"


def read_e2e(predictions: Path, references: Path) -> tuple[list[str], list[list[str]]]:
    """Outputs and their references, as tuetschek/e2e-metrics@1b9c4d8 measure_scores.py reads them.

    A reference file without a blank line holds one reference for each output, unless there is a single output. In the
    challenge's CSV (columns `mr` and `ref`) an instance is a distinct `mr`, in order of first appearance. Outputs may
    be a table too (`MR` and `output`); the records of such a table, or of a run's own file, must be the references', as
    must the ids where both files name them.

    Raises:
        UserError: a file is missing, empty or not UTF-8; two blank lines follow each other; a table is malformed or
            lacks a column; texts stand in columns; the counts or the records differ.
    """
    text = read_text(predictions, may_be_blank=True)
    table = None if holds_json(predictions) else read_outputs(predictions, text)
    if table is None:
        outputs = [line.strip() for line in _read_texts(predictions, text)]
        records = read_records(predictions)
    else:
        outputs, records = [output.strip() for *_, output in table], [(number, mr) for number, mr, _ in table]
    groups, known = _read_e2e_references(references, len(outputs))
    check_counts(predictions, len(outputs), references, len(groups))
    check_records(predictions, records, references, known)
    ids = read_ids(references)
    if ids is not None and len(ids[IDS[0]]) == len(groups):  # each line is the only reference of its instance
        check_ids(predictions, references, ids)
    return outputs, groups


def _read_texts(path: Path, text: str | None = None, *, references: bool = False) -> list[str]:
    """Lines as `read_lines`, none of a table: numbers, ids or a second text would be scored as words of the first.

    Args:
        path: the file.
        text: its content, where it has been read.
        references: a tab parts texts even where few lines have one; in an output it may be a blank.
    """
    found = read_lines(path, text)
    filled = [(number, line) for number, line in enumerate(found, 1) if line.strip()]
    marks = [mark for _, line in filled if (mark := _NUMBERED.match(line))]
    numbers = [int(mark[1]) for mark in marks]
    rising = len(numbers) > 1 and all(one < other for one, other in pairwise(numbers))
    if marks and len(marks) == len(filled) and (rising or all(mark[2] == "\t" for mark in marks)):
        number, line = filled[0]
        raise UserError(
            f"{path}, line {number}: the lines have a first column of numbers ({quote(line)})",
            "give the texts alone, one a line",
        )
    parted = [] if holds_json(path) else [(n, line) for n, line in filled if "\t" in line.strip()]
    if parted and (references or 2 * len(parted) > len(filled)):
        number, line = parted[0]
        raise UserError(
            f"{path}, line {number}: a tab parts the line in columns ({quote(line)})",
            "give one text a line and nothing beside it; write a blank for a tab within a text",
        )
    return found


def _read_e2e_references(path: Path, outputs: int) -> tuple[list[list[str]], list[str] | None]:
    """Groups of references, and their records where the file names them."""
    if path.suffix.lower() in TABLES:
        grouped: dict[str, list[str]] = {}
        for record, reference in read_references(path):
            grouped.setdefault(record, []).append(reference.strip())
        return list(grouped.values()), list(grouped)
    text = read_text(path, may_be_blank=True)
    if not holds_json(path) and read_outputs(path, text) is not None:
        raise UserError(
            f"{path} is a table of records and texts",
            "name the columns in its first line, mr and ref, and let the file's name end in .csv or .tsv",
        )
    groups = _read_groups(path, text)
    if len(groups) == 1 and outputs != 1:
        groups = [[reference] for reference in groups[0]]
    return groups, None


def _read_groups(path: Path, text: str) -> list[list[str]]:
    lines = [line.strip() for line in _read_texts(path, text, references=True)]
    while lines and not lines[-1]:
        lines.pop()
    groups: list[list[str]] = [[]]
    for number, line in enumerate(lines, start=1):
        if line:
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
        else:
            raise UserError(
                f"{path}, line {number}: a blank line where a reference is expected",
                "put exactly one blank line between the references of two instances",
            )
    if not groups[-1]:
        raise UserError(
            f"{path}: no references", "give the references of each instance, a blank line between them"
        )
    return groups


@dataclass(frozen=True)
class WebnlgReferences:
    """References of N records, and where the source has them their categories, the records themselves and their ids."""

    references: list[list[str]]
    categories: list[str] | None = None
    records: list[str] | None = None
    ids: Ids | None = None


def read_webnlg(predictions: Path, path: Path) -> tuple[list[str], WebnlgReferences]:
    """Outputs, one a line, and their references.

    Args:
        predictions: file of the outputs.
        path: references: an XML file (suffix .xml), a folder, a prefix, or one file with a reference a line.

    Raises:
        UserError: nothing there, malformed XML, not as many records as outputs, outputs of other records, or texts in
            columns.
    """
    text = read_text(predictions, may_be_blank=True)
    outputs = _read_texts(predictions, text)
    found = _read_webnlg_references(path, len(outputs), unterminated=not text.endswith("\n"))
    check_records(predictions, read_records(predictions), path, found.records)
    check_ids(predictions, path, found.ids)
    return outputs, found


def _read_webnlg_references(path: Path, count: int, *, unterminated: bool) -> WebnlgReferences:
    if path.suffix.lower() == ".xml":
        found = read_xml(path)
        if len(found.references) != count:
            raise UserError(
                f"{count} outputs, but {path} has {len(found.references)} records with a lexicalisation marked good",
                "give one line for each record, in the file's order",
            )
        return found
    files = [path] if path.is_file() and 0 not in _numbered(path) else _all_numbered(path)
    columns = [_read_column(file, count, blank_end=unterminated and file != files[0]) for file in files]
    return WebnlgReferences([list(record) for record in zip(*columns, strict=True)], ids=read_ids(files[0]))


def read_categories(path: Path) -> list[str]:
    """The records' categories, one a line. Raises UserError as `read_lines`, or where a line is blank."""
    found = read_lines(path)
    for number, category in enumerate(found, 1):
        if not category.strip():
            raise UserError(
                f"{path}, line {number}: a blank line where a category is expected",
                "give one category for each record, or leave categories= out",
            )
    return found


def read_xml(path: Path) -> WebnlgReferences:
    """Lexicalisations with comment `good` and category of each entry; entries without such a one are left out.

    Raises:
        UserError: the file is missing or is not the challenge's XML.
    """
    found = read_entries(path, with_triples=False)
    entries = [entry for entry in found if any(comment == GOOD for comment, _ in entry.lexicalisations)]
    kept, _ = entry_columns(entries)
    if not entries:
        raise UserError(
            f"{path}: no entry has a lexicalisation marked good", "give the file ..._with_lex.xml"
        )
    references = [[" ".join(text.split()) for text in texts] for texts in kept["references"]]
    return WebnlgReferences(
        references,
        kept["category"],
        kept["text"] if all(kept["text"]) else None,
        {name: [entry.eid for entry in entries] for name in IDS},  # outputs may have them by any of the names
    )


def _all_numbered(path: Path) -> list[Path]:
    """The files of a folder or a prefix. Raises UserError where there are none, or one of them is missing."""
    prefix = path / "reference" if path.is_dir() else path
    found = _numbered(prefix)
    if not found:
        raise UserError(f"{path}: no references there", MEND)
    for number, (counted, file) in enumerate(found.items()):
        if counted != number:
            raise UserError(
                f"{file} is there, but no {prefix.name}{number}",
                f"give all files of references, or number those there are from {prefix.name}0 without a gap",
            )
    return list(found.values())


def _numbered(prefix: Path) -> dict[int, Path]:
    """Number -> the file that is called by the prefix and it."""
    named = {number: prefix.with_name(f"{prefix.name}{number}") for number in range(MOST)}
    return {number: file for number, file in named.items() if file.is_file()}


def _read_column(path: Path, count: int, *, blank_end: bool) -> list[str]:
    """One reference for each record; blank_end: in files without a last newline, one at the end is a blank line."""
    lines = _read_texts(path, references=True)
    if blank_end and len(lines) == count - 1 and read_text(path, may_be_blank=True).endswith("\n"):
        lines.append("")
    if len(lines) != count:
        raise UserError(
            f"{count} outputs, but {path} has {len(lines)} lines", "give one line for each record"
        )
    return lines
