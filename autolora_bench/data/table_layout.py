"""Examples from tables (CSV, TSV, JSON lines, parquet) that a task's YAML describes, below data.dir or on the hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    HubSource,
    LocalSource,
    RecoveryTask,
    RegressionTask,
    TableSource,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.data.cells import convert
from autolora_bench.data.files import local_source
from autolora_bench.data.schema import Columns
from autolora_bench.errors import nearest, require
from autolora_bench.tables.profile import class_names, spelled
from autolora_bench.tables.read import opened


def read_table_layout(paths: Sequence[Path], task: TaskConfig) -> tuple[Columns, list[str]]:
    """The rows of local files, which are one split.

    Raises:
        UserError: a file cannot be read, a column is missing, or a row lacks its text or label or has none that the
            task knows; with file and row.
    """
    source = local_source(task)
    require(
        source.header,
        f"local.header=false with local.layout={source.layout.name}, whose columns have names",
        "put a line with their names first, or say layout: glue_tsv",
    )
    return _read(paths, task, "local", source, {})


def read_hub_table(
    paths: Sequence[Path], task: TaskConfig, source: HubSource, split: str
) -> tuple[Columns, list[str]]:
    """The same of the files of a repository; only the rows that `hub.where` keeps. Raises UserError likewise."""
    return _read(paths, task, "hub", source, source.where.get(split, {}))


def _read(
    paths: Sequence[Path],
    task: TaskConfig,
    section: str,
    source: LocalSource | HubSource,
    keep: Mapping[str, str],
) -> tuple[Columns, list[str]]:
    table = _table(task, section, source.columns)
    spellings = _spellings(task, section, source.labels)
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} files)"
    with opened(paths) as dataset:
        label = [table.label] if table.label else []
        for name in (*table.inputs, *label, *keep):
            require(
                name in dataset.column_names,
                f"{where}: there is no column {name!r}; it has {', '.join(dataset.column_names)}",
                f"{nearest(name, dataset.column_names)}correct {section}.columns in the task's YAML",
            )
        known = class_names(dataset.features[table.label]) if label else None
        columns: Columns = {name: dataset[name][:] for name in {*table.inputs, *label, *keep}}
    for name, value in keep.items():
        rows = [row for row, cell in enumerate(columns[name]) if spelled(cell) == value]
        columns = {name: [cells[row] for row in rows] for name, cells in columns.items()}
    return convert(where, task, table, columns, known, spellings)


def _table(task: TaskConfig, section: str, said: Mapping[str, Any]) -> TableSource:
    """Which of the table's columns are read: those that the YAML names, else those of the schema's names."""
    inputs, label = _roles(task)
    unknown = next((name for name in said if name not in (*inputs, label)), None)
    require(
        unknown is None,
        f"{section}.columns names {unknown!r}, which is no column of task={task.name}",
        f"its columns are {', '.join(name for name in (*inputs, label) if name)}",
    )
    found = {name: said.get(name, name) for name in (*inputs, label) if name}
    for name, column in found.items():
        several = isinstance(task, GenerationTask) and name in inputs and isinstance(column, list)
        texts = column if several else [column]
        require(
            len(texts) > 0 and all(isinstance(text, str) and text for text in texts),
            f"{section}.columns.{name}={column} names no column",
            "say the column's name as its first line has it" + " (in quotation marks where it is a number)",
        )
    names = [text for name in inputs for text in _listed(found[name])]
    return TableSource(names, found.get(label, ""))


def _roles(task: TaskConfig) -> tuple[list[str], str]:
    """The schema's names of what is read and of what is to be predicted ("" for a recovery task)."""
    match task:
        case ClassificationTask() | RegressionTask():
            return list(task.texts), "label"
        case RecoveryTask():
            return list(task.texts), ""
        case TaggingTask():
            return ["tokens"], "tags"
        case GenerationTask():
            return ["text"], "references"
    raise TypeError(f"no table makes a {type(task).__name__}")


def _listed(column: str | list[str]) -> list[str]:
    return [column] if isinstance(column, str) else list(column)


def _spellings(task: TaskConfig, section: str, labels: Sequence[str] | None) -> Sequence[str] | None:
    """How the table spells the labels, one for each of the task's."""
    ours = task.labels if isinstance(task, ClassificationTask) else None
    require(
        labels is None or ours is None or len(labels) == len(ours),
        f"{section}.labels names {len(labels or [])} labels, task={task.name} has {len(ours or [])}",
        "name them in the order of the task's, as the file spells them",
    )
    return labels
