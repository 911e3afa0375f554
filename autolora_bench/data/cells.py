"""Cells of a table, as `tables.read` gives them, in the schema's columns: every table of the user's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RecoveryTask,
    RegressionTask,
    TableSource,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.data.iob2 import marks_a_document
from autolora_bench.data.schema import Columns, tag_names
from autolora_bench.errors import UserError
from autolora_bench.tables.profile import as_number, spelled
from autolora_bench.tables.text_files import quote

MEND = "mend the row or leave it out"


def convert(
    where: str,
    task: TaskConfig,
    table: TableSource,
    columns: Columns,
    names: Sequence[str] | None = None,
    spellings: Sequence[str] | None = None,
) -> tuple[Columns, list[str]]:
    """The rows of a split in the schema's columns, and notes.

    Args:
        where: the table, for messages.
        task: texts come in the order of `table.inputs`, under the task's names for them.
        table: which columns are read; of a recovery task the inputs alone.
        columns: the table's own, by its own names.
        names: what the whole numbers of its label column stand for, where the file says so.
        spellings: how the table spells the task's classes, in their order, where it differs.

    Raises:
        UserError: a row lacks its text or label, or has none that the task knows; with the row, counted from 1.
    """
    match task:
        case RecoveryTask():
            return _texts(where, task.texts, table, columns)
        case ClassificationTask():
            texts, notes = _texts(where, task.texts, table, columns)
            to_class = _class_of(spellings or task.labels, names)
            return {**texts, "label": _each(where, table.label, columns[table.label], to_class)}, notes
        case RegressionTask():
            texts, notes = _texts(where, task.texts, table, columns)
            to_number = _number_of(task)
            return {**texts, "label": _each(where, table.label, columns[table.label], to_number)}, notes
        case TaggingTask():
            words = _each(where, table.inputs[0], columns[table.inputs[0]], _list)
            tags = _each(where, table.label, columns[table.label], _tags_of(task, names or spellings))
            kept = [row for row in zip(words, tags, strict=True) if not marks_a_document(row[0])]
            return {"tokens": [tokens for tokens, _ in kept], "tags": [found for _, found in kept]}, []
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
    if isinstance(value, bytes | Mapping | list):
        raise ValueError("is no single text")
    return value if isinstance(value, str) else spelled(value)


def _texts(
    where: str, ours: Sequence[str], table: TableSource, columns: Columns
) -> tuple[Columns, list[str]]:
    texts = {
        our: _each(where, name, columns[name], _text) for our, name in zip(ours, table.inputs, strict=True)
    }
    blank = {
        name: sum(not text.strip() for text in texts[our])
        for our, name in zip(ours, table.inputs, strict=True)
    }
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


def _number_of(task: RegressionTask) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        found = as_number(value)
        if found is None:
            raise ValueError("is missing" if value in (None, "") else f"is {quote(value)}, no number")
        if not task.minimum <= found <= task.maximum:
            raise ValueError(f"is {found:g}, not a number from {task.minimum:g} to {task.maximum:g}")
        return found

    return convert


def _list(value: Any) -> list[str]:
    """A list of words, or the words of a text that blanks part."""
    found = value.split() if isinstance(value, str) else value
    if found and not isinstance(found, list):
        raise ValueError("is no list of words")
    if not found:
        raise ValueError("is empty")
    return [_text(word) for word in found]


def _tags_of(task: TaggingTask, names: Sequence[str] | None) -> Callable[[Any], list[int]]:
    positions = {name: index for index, name in enumerate(tag_names(task))}

    def convert(value: Any) -> list[int]:
        entries = [_named(entry, names) for entry in _list(value)]
        wrong = next((tag for tag in entries if tag.strip() not in positions), None)
        if wrong is not None:
            raise ValueError(f"holds {quote(wrong)}, none of {', '.join(positions)}")
        return [positions[tag.strip()] for tag in entries]

    return convert


def _named(entry: str, names: Sequence[str] | None) -> str:
    """A tag, or what its number stands for."""
    if names is None or not entry.strip().isdigit() or int(entry) >= len(names):
        return entry
    return names[int(entry)]


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
