"""Classes or values and their labels, from one file or two, as the metrics take them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from autolora_bench.errors import UserError
from autolora_bench.metrics.classification import BINARY, CORRELATIONS, POSITIVE
from autolora_bench.metrics.columns import HEADER, Value, read_columns
from autolora_bench.metrics.files import check_counts
from autolora_bench.metrics.glue import GLUE_CLASSES, GLUE_METRICS
from autolora_bench.metrics.glue_files import is_glue_file, read_glue_labels

Values = list[Value]


def read_labelled(
    predictions: Path, references: Path | None, task: str, metrics: Sequence[str]
) -> tuple[Values, Values]:
    """Predictions and labels of a GLUE task, or of the kind `classification`: numbers where the classes are known.

    Args:
        predictions: file with both in two columns, or where there are references with predictions alone.
        references: labels one a line, or a file of the GLUE task's own.
        task: the task's name, or the kind.
        metrics: correlations read numbers, others classes.

    Raises:
        UserError: naming file and line of the first malformed line, both line counts, or why the metrics cannot be.
    """
    classes = GLUE_CLASSES.get(task, ())
    read = partial(read_columns, numeric=_are_of_values(metrics), classes=classes)
    if references is None:
        predicted, labels = read(predictions, HEADER)
    else:
        (predicted,) = read(predictions, HEADER[:1])
        if task in GLUE_METRICS and is_glue_file(references):
            labels = read_glue_labels(references, task, named=_are_names(predicted))
        else:
            (labels,) = read(references, HEADER[1:])
        check_counts(predictions, len(predicted), references, len(labels))
    _check_spelling(predicted, labels, classes)
    if classes:
        return _numbers(predicted, classes), _numbers(labels, classes)
    _check_binary([*predicted, *labels], metrics)
    return predicted, labels


def _are_of_values(metrics: Sequence[str]) -> bool:
    of_values = metrics[0] in CORRELATIONS
    for name in metrics:
        if (name in CORRELATIONS) is not of_values:
            raise UserError(
                f"metrics: of {metrics[0]} and {name} one is of values, the other of classes",
                "ask for one kind at a time",
            )
    return of_values


def _are_names(values: Values) -> bool:
    return any(isinstance(value, str) for value in values)


def _numbers(values: Values, classes: Sequence[str]) -> Values:
    return [classes.index(value) if isinstance(value, str) else value for value in values]


def _check_spelling(predicted: Values, labels: Values, classes: Sequence[str]) -> None:
    """Refuse numbers scored against names, whose order may be another."""
    if _are_names(predicted) != _are_names(labels):
        sides = "names and labels numbers" if _are_names(predicted) else "numbers and labels names"
        raise UserError(f"predictions are {sides}", "write both as numbers or both as names")
    if classes and len({isinstance(value, str) for value in (*predicted, *labels)}) > 1:
        raise UserError("there are both numbers and names", "write all as numbers or all as names")


def _check_binary(values: Values, metrics: Sequence[str]) -> None:
    """Refuse more classes than two, and classes of which the positive one is not known."""
    others = [value for value in values if value not in (0, POSITIVE)]
    if others and BINARY in metrics:
        raise UserError(
            f"{BINARY} needs the classes 0 and {POSITIVE}, there is {others[0]!r} too",
            f"write {POSITIVE} for the positive class, 0 for the other; of more classes than two it is not defined",
        )
