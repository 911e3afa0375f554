"""Outputs of the data-to-text benchmarks and their references: E2E's two files, WebNLG's XML or numbered files."""

from dataclasses import dataclass
from pathlib import Path

from autolora_bench.data.e2e_csv import read_outputs, read_references
from autolora_bench.data.records import entry_columns
from autolora_bench.data.webnlg_xml import read_entries
from autolora_bench.errors import UserError
from autolora_bench.scoring.predictions import check_counts, check_records, read_lines, read_records
from autolora_bench.tables.text_files import holds_json, read_text

TABLES = (".csv", ".tsv")
MEND = "give the XML test file, a folder with reference0, reference1, ..., or the path they begin with"


def read_e2e(predictions: Path, references: Path) -> tuple[list[str], list[list[str]]]:
    """Outputs and their references, as tuetschek/e2e-metrics@1b9c4d8 measure_scores.py reads them.

    A reference file without a blank line holds one reference for each output, unless there is a single output. In the
    challenge's CSV (columns `mr` and `ref`) an instance is a distinct `mr`, in order of first appearance. Outputs may
    be a table too (`MR` and `output`); the records of such a table, or of a run's own file, must be the references'.

    Raises:
        UserError: a file is missing, empty or not UTF-8; two blank lines follow each other; a table is malformed or
            lacks a column; the counts or the records differ.
    """
    text = read_text(predictions, may_be_blank=True)
    table = None if holds_json(predictions) else read_outputs(predictions, text)
    if table is None:
        outputs, records = [line.strip() for line in read_lines(predictions, text)], read_records(predictions)
    else:
        outputs, records = [output.strip() for *_, output in table], [(number, mr) for number, mr, _ in table]
    groups, known = _read_e2e_references(references, len(outputs))
    check_counts(predictions, len(outputs), references, len(groups))
    check_records(predictions, records, references, known)
    return outputs, groups


def _read_e2e_references(path: Path, outputs: int) -> tuple[list[list[str]], list[str] | None]:
    """Groups of references, and their records where the file names them."""
    if path.suffix.lower() in TABLES:
        grouped: dict[str, list[str]] = {}
        for record, reference in read_references(path):
            grouped.setdefault(record, []).append(reference.strip())
        return list(grouped.values()), list(grouped)
    groups = _read_groups(path)
    if len(groups) == 1 and outputs != 1:
        groups = [[reference] for reference in groups[0]]
    return groups, None


def _read_groups(path: Path) -> list[list[str]]:
    lines = [line.strip() for line in read_lines(path)]
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
    """References of N records, and where the source has them their categories and the records themselves."""

    references: list[list[str]]
    categories: list[str] | None = None
    records: list[str] | None = None


def read_webnlg(predictions: Path, path: Path) -> tuple[list[str], WebnlgReferences]:
    """Outputs, one a line, and their references.

    Args:
        predictions: file of the outputs.
        path: references: an XML file (suffix .xml), a folder, a prefix, or one file with a reference a line.

    Raises:
        UserError: nothing there, malformed XML, not as many records as outputs, or outputs of other records.
    """
    text = read_text(predictions, may_be_blank=True)
    outputs = read_lines(predictions, text)
    found = _read_webnlg_references(path, len(outputs), unterminated=not text.endswith("\n"))
    check_records(predictions, read_records(predictions), path, found.records)
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
    files = _numbered(path / "reference") if path.is_dir() else _numbered(path) or [path]
    if not files or not files[0].is_file():
        raise UserError(f"{path}: no references there", MEND)
    columns = [_read_column(file, count, blank_end=unterminated and file != files[0]) for file in files]
    return WebnlgReferences([list(record) for record in zip(*columns, strict=True)])


def read_xml(path: Path) -> WebnlgReferences:
    """Lexicalisations with comment `good` and category of each entry; entries without such a one are left out.

    Raises:
        UserError: the file is missing or is not the challenge's XML.
    """
    kept, _ = entry_columns(read_entries(path, with_triples=False))
    if not kept["references"]:
        raise UserError(
            f"{path}: no entry has a lexicalisation marked good", "give the file ..._with_lex.xml"
        )
    references = [[" ".join(text.split()) for text in texts] for texts in kept["references"]]
    return WebnlgReferences(references, kept["category"], kept["text"] if all(kept["text"]) else None)


def _numbered(prefix: Path) -> list[Path]:
    files: list[Path] = []
    while (file := prefix.with_name(f"{prefix.name}{len(files)}")).is_file():
        files.append(file)
    return files


def _read_column(path: Path, count: int, *, blank_end: bool) -> list[str]:
    """One reference for each record; blank_end: in files without a last newline, one at the end is a blank line."""
    lines = read_lines(path)
    if blank_end and len(lines) == count - 1 and read_text(path, may_be_blank=True).endswith("\n"):
        lines.append("")
    if len(lines) != count:
        raise UserError(
            f"{count} outputs, but {path} has {len(lines)} lines", "give one line for each record"
        )
    return lines
