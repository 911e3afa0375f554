"""The E2E challenge's two files: outputs one a line, references in groups with a blank line between, or its CSV."""

import csv
import io
from pathlib import Path

from autolora_bench.errors import UserError
from autolora_bench.metrics.files import check_counts, read_lines, read_text


def read_e2e(predictions: Path, references: Path) -> tuple[list[str], list[list[str]]]:
    """Outputs and their references, as tuetschek/e2e-metrics@1b9c4d8 measure_scores.py reads them.

    A reference file without a blank line holds one reference for each output, unless there is a single output. In the
    challenge's CSV (columns `mr` and `ref`) an instance is a distinct `mr`, in order of first appearance.

    Raises:
        UserError: a file is missing, empty or not UTF-8; two blank lines follow each other; a CSV is malformed or lacks
            a column; the counts differ.
    """
    outputs = [line.strip() for line in read_lines(predictions)]
    if references.suffix.lower() == ".csv":
        groups = _read_csv(references)
    else:
        groups = _read_groups(references)
        if len(groups) == 1 and len(outputs) != 1:
            groups = [[reference] for reference in groups[0]]
    check_counts(predictions, len(outputs), references, len(groups))
    return outputs, groups


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


def _read_csv(path: Path) -> list[list[str]]:
    rows = csv.DictReader(io.StringIO(read_text(path).replace("\r\n", "\n"), newline=""), strict=True)
    groups: dict[str, list[str]] = {}
    try:
        for row in rows:
            groups.setdefault(row["mr"], []).append(row["ref"].strip())
    except KeyError as error:
        raise UserError(
            f"{path}: there is no column {error}", "give the challenge's CSV, its first line `mr,ref`"
        ) from error
    except AttributeError as error:
        raise UserError(
            f"{path}, line {rows.line_num}: no reference in this row", "correct the line's commas and quotes"
        ) from error
    except csv.Error as error:
        raise UserError(f"{path}, after line {rows.line_num}: {error}", "correct the quotes") from error
    if not groups:
        raise UserError(f"{path}: no references", "give the challenge's CSV with its rows")
    return list(groups.values())
