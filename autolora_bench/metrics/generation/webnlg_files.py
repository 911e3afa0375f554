"""WebNLG's references: the challenge's XML, or the files reference0, reference1, ... of GenerationEval."""

from dataclasses import dataclass
from pathlib import Path

from autolora_bench.data.records import entry_columns
from autolora_bench.data.text_files import read_text
from autolora_bench.data.webnlg_xml import read_entries
from autolora_bench.errors import UserError
from autolora_bench.metrics.files import check_records, read_lines, read_records

MEND = "give the XML test file, a folder with reference0, reference1, ..., or the path they begin with"


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
    outputs = read_lines(predictions)
    unterminated = not read_text(predictions, may_be_blank=True).endswith("\n")
    found = _read_references(path, len(outputs), unterminated=unterminated)
    check_records(predictions, read_records(predictions), path, found.records)
    return outputs, found


def _read_references(path: Path, count: int, *, unterminated: bool) -> WebnlgReferences:
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
