"""Examples of the user's own tables (task=any): from files, or from any data set of the hub."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RegressionTask,
    TableSource,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.data.files import own_files
from autolora_bench.data.schema import ANSWERS, Columns, Loaded, tag_names
from autolora_bench.data.splits import apart
from autolora_bench.data.text_files import quote
from autolora_bench.errors import UserError
from autolora_bench.tables.download import download
from autolora_bench.tables.profile import as_number, class_names, spelled
from autolora_bench.tables.read import opened
from autolora_bench.tables.repository import OTHERWISE

MEND = "mend the row or leave it out"
VALIDATION = "validation"


def read_own(task: TaskConfig, data: DataConfig) -> Loaded:
    """The task's splits; where there is none to validate on, a part of the training examples.

    Raises:
        UserError: a file is gone or changed since the run was planned, or a row lacks its text or label; with split and
            row.
    """
    assert task.table is not None
    splits: dict[str, Columns] = {}
    notes: list[str] = []
    for split, paths in _paths(task, data).items():
        with opened(paths) as dataset:
            names = [*task.table.inputs, task.table.label]
            known = class_names(dataset.features[task.table.label])
            columns = {name: dataset[name][:] for name in names}
        splits[split], remarks = _convert(task, task.table, split, columns, known)
        notes += [f"{split}: {remark}" for remark in remarks]
    share = task.table.validation_share
    if share:
        splits["train"], splits[VALIDATION] = _cut(task, splits["train"], share)
        notes.append(
            f"there is no validation split: {len(_first(splits[VALIDATION])):,} of the training examples "
            f"({share:.0%}, always the same) are held out for it"
        )
    return Loaded(splits, _source(task, data), notes + _seen_before(splits))


def _paths(task: TaskConfig, data: DataConfig) -> dict[str, list[Path]]:
    if data.source is Source.files:
        found = own_files(task, data)
    else:
        assert task.hub is not None
        found = {
            split: [download(task.hub.path, file, task.hub.revision, OTHERWISE) for file in files]
            for split, files in task.hub.files.items()
        }
    needed = ["train", *task.evaluation, *task.test]
    return {split: paths for split, paths in found.items() if split in needed}


def _source(task: TaskConfig, data: DataConfig) -> str:
    if task.hub is not None and data.source is Source.hub:
        return f"{task.hub.path}@{task.hub.revision}"
    return f"{task.name} (own files)"


def _first(columns: Columns) -> list[Any]:
    return next(iter(columns.values()))


def _convert(
    task: TaskConfig, table: TableSource, split: str, columns: Columns, names: list[str] | None
) -> tuple[Columns, list[str]]:
    where = f"{task.name}, {split}"
    label = columns[table.label]
    match task:
        case ClassificationTask():
            texts, notes = _texts(where, table, columns)
            return {**texts, "label": _each(where, table.label, label, _class_of(task.labels, names))}, notes
        case RegressionTask():
            texts, notes = _texts(where, table, columns)
            return {**texts, "label": _each(where, table.label, label, _number)}, notes
        case TaggingTask():
            words = _each(where, table.inputs[0], columns[table.inputs[0]], _list)
            return {"tokens": words, "tags": _each(where, table.label, label, _tags_of(task, names))}, []
        case GenerationTask():
            return _records(where, table, columns)
    raise TypeError(f"no table makes a {type(task).__name__}")


def _each(where: str, name: str, values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Every cell converted. Raises UserError with the row, counted from 1, where one cannot be."""
    found = []
    for row, value in enumerate(values, 1):
        try:
            found.append(convert(value))
        except ValueError as error:
            raise UserError(f"{where}, row {row}: {name} {error}", MEND) from error
    return found


def _text(value: Any) -> str:
    if value is None:
        raise ValueError("is missing")
    return value if isinstance(value, str) else spelled(value)


def _texts(where: str, table: TableSource, columns: Columns) -> tuple[Columns, list[str]]:
    texts = {name: _each(where, name, columns[name], _text) for name in table.inputs}
    blank = {name: sum(not text.strip() for text in column) for name, column in texts.items()}
    return texts, [f"{name} is empty in {count:,} examples" for name, count in blank.items() if count]


def _class_of(labels: Sequence[str], names: Sequence[str] | None) -> Callable[[Any], int]:
    positions = {name: index for index, name in enumerate(labels)}

    def convert(value: Any) -> int:
        if value is None or not spelled(value):
            raise ValueError("is missing")
        if names is not None and not 0 <= int(value) < len(names):
            raise ValueError(f"is {value}, which stands for no class")
        name = spelled(value) if names is None else names[int(value)]
        if name not in positions:
            raise ValueError(f"is {quote(name)}, none of {', '.join(labels)}")
        return positions[name]

    return convert


def _number(value: Any) -> float:
    found = as_number(value)
    if found is None:
        raise ValueError("is missing" if value in (None, "") else f"is {quote(value)}, no number")
    return found


def _list(value: Any) -> list[str]:
    """A list of words, or the words of a text that blanks part."""
    found = value.split() if isinstance(value, str) else value
    if not found:
        raise ValueError("is empty")
    return [_text(word) for word in found]


def _tags_of(task: TaggingTask, names: Sequence[str] | None) -> Callable[[Any], list[int]]:
    positions = {name: index for index, name in enumerate(tag_names(task))}

    def convert(value: Any) -> list[int]:
        entries = value if names is None else [names[int(index)] for index in value or []]
        wrong = next((tag for tag in _list(entries) if tag.strip() not in positions), None)
        if wrong is not None:
            raise ValueError(f"holds {quote(wrong)}, none of {', '.join(positions)}")
        return [positions[tag.strip()] for tag in _list(entries)]

    return convert


def _records(where: str, table: TableSource, columns: Columns) -> tuple[Columns, list[str]]:
    """One example for each input; rows that share it are its references."""
    written = _each(where, table.label, columns[table.label], _written)
    inputs = [_each(where, name, columns[name], _text) for name in table.inputs]
    references: dict[tuple[str, ...], list[str]] = {}
    for values, text in zip(zip(*inputs, strict=True), written, strict=True):
        references.setdefault(values, []).append(text)
    found: Columns = {
        "fields": [
            [[name, value] for name, value in zip(table.inputs, values, strict=True)] for values in references
        ],
        "references": list(references.values()),
        "category": [""] * len(references),
        "text": [
            values[0]
            if len(values) == 1
            else " | ".join(f"{name} : {value}" for name, value in zip(table.inputs, values, strict=True))
            for values in references
        ],
    }
    if len(references) == len(written):
        return found, []
    return found, [
        f"{len(written):,} texts of {len(references):,} inputs: those of one input are its references"
    ]


def _written(value: Any) -> str:
    text = _text(value)
    if not text.strip():
        raise ValueError("is empty")
    return text


def _cut(task: TaskConfig, columns: Columns, share: float) -> tuple[Columns, Columns]:
    """What is left to train on, and what is held out, classes in proportion; rows of one input stay together."""
    places: dict[Hashable, list[int]] = {}
    for row, given in enumerate(_inputs(columns)):
        places.setdefault(given, []).append(row)
    units = list(places.values())
    classes = columns["label"] if isinstance(task, ClassificationTask) else [0] * len(_first(columns))
    sides = apart(
        [classes[rows[0]] for rows in units],
        share,
        "data.validation_share",
        "different training inputs",
        "give data.validation=FILE, or another share",
    )
    rest, held = (_rows(columns, sorted(row for unit in side for row in units[unit])) for side in sides)
    return rest, held


def _inputs(columns: Columns) -> list[Hashable]:
    """What a model is given of each example, to compare it with others."""
    given = [values for name, values in columns.items() if name not in ANSWERS]
    return [json.dumps(one) for one in zip(*given, strict=True)]


def _seen_before(splits: Mapping[str, Columns]) -> list[str]:
    """A note for every split of which examples have inputs that are also trained on."""
    trained = {*_inputs(splits["train"])}
    notes = []
    for split, columns in splits.items():
        inputs = _inputs(columns)
        count = sum(given in trained for given in inputs) if split != "train" else 0
        if count:
            notes.append(
                f"{split}: {count:,} of {len(inputs):,} examples have inputs that are also trained on"
            )
    return notes


def _rows(columns: Columns, rows: Sequence[int]) -> Columns:
    return {name: [values[row] for row in rows] for name, values in columns.items()}
