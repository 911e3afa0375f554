"""The one schema that every source is brought to, and the check that it was."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RecoveryTask,
    RegressionTask,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.errors import UserError
from autolora_bench.tables.text_files import quote

if TYPE_CHECKING:
    from datasets import Dataset, Features

Columns = dict[str, list[Any]]
"""Column -> one value per example."""


@dataclass(frozen=True)
class TaskData:
    """A task's examples.

    Columns: classification has task.texts (str) and `label` (index into task.labels); regression has task.texts and
    `label` (float); recovery has task.texts alone; tagging has `tokens` and `tags` (indices into tag_names);
    generation has `fields` (one list of strings per key and value, or per triple), `references`, `category` ("" where
    there is none) and `text`, the publisher's own text of the record.
    """

    splits: "dict[str, Dataset]"
    """train and the splits that the task evaluates and tests on."""
    fingerprint: str
    """SHA-256 over the rows of every split: the same whatever the source."""
    source: str
    """One line for the record."""
    subsets: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Split -> (rows here, official rows), where there are fewer."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the scores has to know about the data."""


@dataclass(frozen=True)
class Loaded:
    """What a source gives before it is checked."""

    splits: dict[str, Columns]
    source: str
    notes: list[str] = field(default_factory=list)


def tag_names(task: TaggingTask) -> list[str]:
    """O, then B-<entity> and I-<entity> of each entity in the task's order."""
    return ["O", *(f"{prefix}-{entity}" for entity in task.entities for prefix in "BI")]


def features(task: TaskConfig) -> "Features":
    """Columns and types of a task's examples."""
    from datasets import Features, List, Value

    match task:
        case ClassificationTask():
            return Features({**{text: Value("string") for text in task.texts}, "label": Value("int64")})
        case RegressionTask():
            return Features({**{text: Value("string") for text in task.texts}, "label": Value("float64")})
        case RecoveryTask():
            return Features({text: Value("string") for text in task.texts})
        case TaggingTask():
            return Features({"tokens": List(Value("string")), "tags": List(Value("int64"))})
        case GenerationTask():
            return Features(
                {
                    "fields": List(List(Value("string"))),
                    "references": List(Value("string")),
                    "category": Value("string"),
                    "text": Value("string"),
                }
            )
    raise TypeError(f"no schema for {type(task).__name__}")


def input_columns(task: TaskConfig) -> list[str]:
    """Those of a task's columns that a model is given; the others say what is right."""
    match task:
        case ClassificationTask() | RegressionTask() | RecoveryTask():
            return list(task.texts)
        case TaggingTask():
            return ["tokens"]
        case GenerationTask():
            return ["fields", "category", "text"]
    raise TypeError(f"no schema for {type(task).__name__}")


def to_dataset(task: TaskConfig, columns: Columns) -> "Dataset":
    """Checked columns as a data set with the task's types."""
    from datasets import Dataset

    return Dataset.from_dict(columns, features=features(task))


def check_schema(task: TaskConfig, loaded: Loaded) -> None:
    """Hold what a source gave against the schema.

    Raises:
        UserError: a split is empty, a column is missing, unknown or of another length, or a value is not allowed.
    """
    for split, columns in loaded.splits.items():
        _check_columns(f"{loaded.source}, {split}", columns, list(features(task)))
        for row, wrong in enumerate(map(_row_check(task), _rows(columns, list(features(task))))):
            if wrong:
                raise UserError(
                    f"{loaded.source}, {split}, row {row}: {wrong}", "check the task's columns and labels"
                )


def _rows(columns: Columns, names: Sequence[str]) -> Any:
    return zip(*(columns[name] for name in names), strict=True)


def _check_columns(where: str, columns: Mapping[str, list[Any]], expected: list[str]) -> None:
    if sorted(columns) != sorted(expected):
        raise UserError(
            f"{where}: the columns are {', '.join(columns)}, the task needs {', '.join(expected)}",
            "name the columns in the task's YAML (hub.columns or local.columns)",
        )
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise UserError(f"{where}: columns of different length: {lengths}", "repair the data")
    if not next(iter(lengths.values())):
        raise UserError(f"{where}: there are no examples", "repair the file or choose another source")


def _row_check(task: TaskConfig) -> Callable[[tuple[Any, ...]], str | None]:
    match task:
        case ClassificationTask():
            return lambda row: _texts(row[:-1]) or _index(row[-1], task.labels, "label")
        case RegressionTask():
            return lambda row: _texts(row[:-1]) or _number(row[-1], task.minimum, task.maximum)
        case RecoveryTask():
            return _texts
        case TaggingTask():
            tags = tag_names(task)
            return lambda row: _texts(row[0]) or _tags(row[0], row[1], tags)
    return lambda row: _record(*row)


def _texts(values: Sequence[Any]) -> str | None:
    wrong = [value for value in values if not isinstance(value, str)]
    return f"{quote(wrong[0])} is not a text" if wrong else None


def _index(value: Any, names: Sequence[str], what: str) -> str | None:
    if isinstance(value, int) and 0 <= value < len(names):
        return None
    return f"{what} {value!r} is not an index into {', '.join(names)}"


def _number(value: Any, minimum: float, maximum: float) -> str | None:
    if isinstance(value, float) and math.isfinite(value) and minimum <= value <= maximum:
        return None
    return f"label {value!r} is not a number from {minimum:g} to {maximum:g}"


def _tags(tokens: Sequence[str], tags: Sequence[Any], names: Sequence[str]) -> str | None:
    if not tokens or len(tokens) != len(tags):
        return f"{len(tokens)} tokens have {len(tags)} tags"
    allowed = range(len(names))
    wrong = next((tag for tag in tags if tag not in allowed), None)
    return None if wrong is None else _index(wrong, names, "tag")


def _record(fields: Any, references: Any, category: Any, text: Any) -> str | None:
    if not fields or not references:
        return f"the record {quote(text)} has {len(fields)} fields and {len(references)} references"
    if any(isinstance(reference, str) and not reference.strip() for reference in references):
        return f"a reference of the record {quote(text)} is blank"
    return _texts([part for each in fields for part in each] + [*references, category, text])


def fingerprint(splits: "Mapping[str, Dataset]") -> str:
    """SHA-256 over split names, column names and rows in their order; floats by their shortest decimal form."""
    digest = hashlib.sha256()
    for split, dataset in sorted(splits.items()):
        names = sorted(dataset.column_names)
        digest.update(json.dumps([split, names, len(dataset)]).encode())
        columns = dataset[:]
        for row in zip(*(columns[name] for name in names), strict=True):
            digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
