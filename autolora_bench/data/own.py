"""Examples of the user's own tables (task=any): from files, or from any data set of the hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import ClassificationTask, GenerationTask, TaskConfig
from autolora_bench.data.cells import convert
from autolora_bench.data.files import own_files
from autolora_bench.data.schema import Columns, Loaded, input_columns
from autolora_bench.data.splits import also_trained_on, apart, inputs_of
from autolora_bench.tables.download import download
from autolora_bench.tables.profile import class_names
from autolora_bench.tables.read import opened
from autolora_bench.tables.repository import OTHERWISE
from autolora_bench.untrusted import in_a_line

VALIDATION = "validation"
SHOWN = 8


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
            if split == "train":
                notes += _not_read([name for name in dataset.column_names if name not in names])
        splits[split], remarks = convert(f"{task.name}, {split}", task, task.table, columns, known)
        notes += [f"{split}: {remark}" for remark in remarks]
    share = task.table.validation_share
    if share:
        splits["train"], splits[VALIDATION] = _cut(task, splits["train"], share)
        notes.append(
            f"there is no validation split: {len(_first(splits[VALIDATION])):,} of the training examples "
            f"({share:.0%}, always the same) are held out for it"
        )
    return Loaded(splits, _source(task, data), notes + _empty(task, splits) + _seen_before(task, splits))


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


def _not_read(columns: Sequence[str]) -> list[str]:
    if not columns:
        return []
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return [
        f"columns that are not read: {', '.join(map(in_a_line, columns[:SHOWN]))}{more} (task.texts says which are)"
    ]


def _source(task: TaskConfig, data: DataConfig) -> str:
    if task.hub is not None and data.source is Source.hub:
        return f"{task.hub.path}@{task.hub.revision}"
    return f"{task.name} (own files)"


def _first(columns: Columns) -> list[Any]:
    return next(iter(columns.values()))


def _cut(task: TaskConfig, columns: Columns, share: float) -> tuple[Columns, Columns]:
    """What is left to train on, and what is held out, classes in proportion; rows of one input stay together."""
    classes = columns["label"] if isinstance(task, ClassificationTask) else [0] * len(_first(columns))
    rest, held = apart(
        classes,
        inputs_of(task, columns),
        share,
        "data.validation_share",
        "different training inputs",
        "give data.validation=FILE, or another share",
    )
    return _rows(columns, rest), _rows(columns, held)


def _empty(task: TaskConfig, splits: Mapping[str, Columns]) -> list[str]:
    """A note for every split of which examples have a text of blanks alone."""
    notes = []
    for split, columns in splits.items():
        blank = [
            any(isinstance(text, str) and not text.strip() for text in row) for row in _given(task, columns)
        ]
        if any(blank):
            notes.append(f"{split}: {sum(blank):,} of {len(blank):,} examples have an empty text")
    return notes


def _given(task: TaskConfig, columns: Columns) -> list[tuple[Any, ...]]:
    """The cells of every example's input."""
    if isinstance(task, GenerationTask):
        return [tuple(value for _, value in fields) for fields in columns["fields"]]
    return list(zip(*(columns[name] for name in input_columns(task)), strict=True))


def _seen_before(task: TaskConfig, splits: Mapping[str, Columns]) -> list[str]:
    """A note for every split of which examples have inputs that are also trained on."""
    train = inputs_of(task, splits["train"])
    others = {split: inputs_of(task, columns) for split, columns in splits.items() if split != "train"}
    return [note for split, inputs in others.items() for note in also_trained_on(train, split, inputs)]


def _rows(columns: Columns, rows: Sequence[int]) -> Columns:
    return {name: [values[row] for row in rows] for name, values in columns.items()}
