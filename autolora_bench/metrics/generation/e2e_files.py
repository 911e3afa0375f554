"""The E2E challenge's two files: outputs one a line, references in groups with a blank line between them."""

from pathlib import Path

from autolora_bench.errors import UserError
from autolora_bench.metrics.files import check_counts, read_lines


def read_e2e(predictions: Path, references: Path) -> tuple[list[str], list[list[str]]]:
    """Outputs and their references, as tuetschek/e2e-metrics@1b9c4d8 measure_scores.py reads them.

    A reference file without a blank line holds one reference for each output, unless there is a single output.

    Raises:
        UserError: a file is missing, empty or not UTF-8; two blank lines follow each other; the counts differ.
    """
    outputs = [line.strip() for line in read_lines(predictions)]
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
