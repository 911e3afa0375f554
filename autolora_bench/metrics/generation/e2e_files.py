"""The E2E challenge's two files: outputs one a line or in a table with their records, references in groups with a
blank line between or in a table."""

from pathlib import Path

from autolora_bench.data.e2e_csv import read_outputs, read_references
from autolora_bench.errors import UserError
from autolora_bench.metrics.files import check_counts, check_records, read_lines, read_records

TABLES = (".csv", ".tsv")


def read_e2e(predictions: Path, references: Path) -> tuple[list[str], list[list[str]]]:
    """Outputs and their references, as tuetschek/e2e-metrics@1b9c4d8 measure_scores.py reads them.

    A reference file without a blank line holds one reference for each output, unless there is a single output. In the
    challenge's CSV (columns `mr` and `ref`) an instance is a distinct `mr`, in order of first appearance. Outputs may
    be a table too (`MR` and `output`); the records of such a table, or of a run's own file, must be the references'.

    Raises:
        UserError: a file is missing, empty or not UTF-8; two blank lines follow each other; a table is malformed or
            lacks a column; the counts or the records differ.
    """
    table = None if predictions.suffix.lower() == ".jsonl" else read_outputs(predictions)
    if table is None:
        outputs, records = [line.strip() for line in read_lines(predictions)], read_records(predictions)
    else:
        outputs, records = [output.strip() for *_, output in table], [(number, mr) for number, mr, _ in table]
    groups, known = _read_references(references, len(outputs))
    check_counts(predictions, len(outputs), references, len(groups))
    check_records(predictions, records, references, known)
    return outputs, groups


def _read_references(path: Path, outputs: int) -> tuple[list[list[str]], list[str] | None]:
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
