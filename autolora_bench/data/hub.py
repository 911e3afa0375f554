"""Examples from files on the Hugging Face hub, or from its cache: no loading script ever runs."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autolora_bench.config.data import DataConfig
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    HubSource,
    RecoveryTask,
    RegressionTask,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.data.files import hub_source, split_names
from autolora_bench.data.hub_files import commit_of, fetch
from autolora_bench.data.iob2 import marks_a_document
from autolora_bench.data.records import Entry, entry_columns, group_meanings
from autolora_bench.data.schema import Columns, Loaded, tag_names
from autolora_bench.data.table_layout import read_hub_table
from autolora_bench.errors import UserError, require
from autolora_bench.tables.profile import spelled

DECIMALS = 6
"""The hub keeps scores in 32 bits: rounded to so many decimals they are the numbers of the publisher's files again."""


def read_hub(task: TaskConfig, data: DataConfig) -> Loaded:
    """The task's splits from the hub. Raises UserError where they cannot be had or are not what the task says."""
    source = hub_source(task)
    splits: dict[str, Columns] = {}
    notes: list[str] = []
    commits: set[str] = set()
    for split in split_names(task):
        paths = _paths(source, split)
        commits.update(commit_of(path) for path in paths)
        if source.layout is not None:
            splits[split], remarks = read_hub_table(paths, task, source, split)
            notes += [f"{split}: {remark}" for remark in remarks]
            continue
        parts = [_rows(source, split, path, columns_of(task)) for path in paths]
        try:
            table = pa.concat_tables(parts, promote_options="permissive")
        except pa.ArrowException as error:
            raise UserError(
                f"{source.path}, {split}: its files differ in what a column holds: {error}",
                "name files of one kind in hub.files of the task's YAML",
            ) from error
        splits[split], remarks = _convert(task, source, split, table)
        notes += [f"{split}: {remark}" for remark in remarks]
    return Loaded(splits, f"{source.path} {task.name}@{', '.join(sorted(commits))}", notes)


def columns_of(task: TaskConfig) -> list[str]:
    """Our columns that a table on the hub has to have; E2E's has no category, WebNLG's no text of its own."""
    match task:
        case ClassificationTask() | RegressionTask():
            return [*task.texts, "label"]
        case RecoveryTask():
            return list(task.texts)
        case TaggingTask():
            return ["tokens", "tags"]
    assert task.hub is not None
    return sorted(task.hub.columns)


def _paths(source: HubSource, split: str) -> list[Path]:
    if not source.files.get(split):
        raise UserError(
            f"the task names no hub file for its split {split!r}",
            f"add hub.files.{split} to the task's YAML",
        )
    return [fetch(source, file) for file in source.files[split]]


def _rows(source: HubSource, split: str, path: Path, columns: list[str]) -> pa.Table:
    """Our columns under our names, only the rows that hub.where keeps."""
    names = {column: source.columns.get(column, column) for column in columns}
    keep = source.where.get(split, {})
    table = _read_parquet(path, [*names.values(), *keep])
    for column, value in keep.items():
        table = table.filter(
            pa.array([spelled(cell) == value for cell in table[column].to_pylist()], pa.bool_())
        )
    return pa.table({column: table[name] for column, name in names.items()}).replace_schema_metadata(
        {
            f"names:{column}": "\t".join(found)
            for column, name in names.items()
            if (found := _label_names(table, name))
        }
    )


def _read_parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    """These columns of a file.

    Raises:
        UserError: the file is no parquet file or lacks a column.
    """
    try:
        present = pq.read_schema(path).names
        missing = [name for name in columns if name not in present]
        if missing:
            raise UserError(
                f"{path}: there is no column {missing[0]!r} among {', '.join(present)}",
                "correct hub.columns in the task's YAML",
            )
        return pq.read_table(path, columns=list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is no readable parquet file: {reason}", "download it again") from error


def _label_names(table: pa.Table, column: str) -> list[str]:
    """What a column's indices stand for, where the file says so itself (a ClassLabel feature); else empty."""
    try:
        recorded: Any = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"][column]
    except (KeyError, ValueError):
        return []
    while isinstance(recorded, dict) and "names" not in recorded:
        recorded = recorded.get("feature")
    return list(recorded["names"]) if isinstance(recorded, dict) else []


def _convert(task: TaskConfig, source: HubSource, split: str, table: pa.Table) -> tuple[Columns, list[str]]:
    match task:
        case ClassificationTask():
            to_ours = _index_map(task.labels, source, table, "label")
            return {
                **_texts(table, task.texts),
                "label": [to_ours(i) for i in table["label"].to_pylist()],
            }, []
        case RegressionTask():
            scores = [
                None if value is None else round(float(value), DECIMALS)
                for value in table["label"].to_pylist()
            ]
            return {**_texts(table, task.texts), "label": scores}, []
        case RecoveryTask():
            return _texts(table, task.texts), []
        case TaggingTask():
            to_ours = _index_map(tag_names(task), source, table, "tags")
            rows = zip(table["tokens"].to_pylist(), table["tags"].to_pylist(), strict=True)
            kept = [row for row in rows if not marks_a_document(row[0])]
            tags = [[to_ours(i) for i in row] for _, row in kept]
            return {"tokens": [tokens for tokens, _ in kept], "tags": tags}, []
        case GenerationTask():
            return _records(f"{source.path}, {split}", table)
    raise TypeError(f"no hub reader for {type(task).__name__}")


def _texts(table: pa.Table, names: list[str]) -> Columns:
    return {name: table[name].to_pylist() for name in names}


def _index_map(ours: list[str], source: HubSource, table: pa.Table, column: str) -> Callable[[Any], Any]:
    """The hub's index -> our index; an index that stands for nothing stays, and the schema check names it.

    Raises:
        UserError: the file itself names its labels in another order than the task's YAML does, or otherwise where
            hub.labels does not say which is which.
    """
    theirs = source.labels or ours
    kind = table.schema.field(column).type
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    require(
        not pa.types.is_string(kind) and not pa.types.is_large_string(kind),
        f"{source.path}: the {column} are texts, where the hub has their numbers",
        "add `layout: parquet` to hub of the task's YAML",
    )
    recorded = (table.schema.metadata or {}).get(f"names:{column}".encode(), b"").decode().split("\t")
    named = recorded not in ([""], [str(index) for index in range(len(recorded))])
    same = set(recorded) == set(theirs)
    if named and recorded != list(theirs) and (same or not source.labels):
        mend = ", ".join(recorded) if same else f"the task's labels in the order of {', '.join(recorded)}"
        raise UserError(
            f"{source.path}: the {column} are {', '.join(recorded)}, the task says {', '.join(theirs)}",
            f"set hub.labels to [{mend}] in the task's YAML",
        )
    if unknown := sorted(set(theirs) - set(ours)):
        raise UserError(f"hub.labels: {unknown[0]} is none of {', '.join(ours)}", "correct the task's YAML")
    require(
        len({*theirs}) == len(ours),
        f"hub.labels has {len({*theirs})} of the task's {len(ours)} labels",
        f"name all of {', '.join(ours)}, in the order of the hub's numbers",
    )
    positions = {index: ours.index(name) for index, name in enumerate(theirs)}
    return lambda index: positions.get(index, index)


def _records(where: str, table: pa.Table) -> tuple[Columns, list[str]]:
    try:
        if "triples" in table.column_names:
            return entry_columns(_entries(table))
        pairs = list(zip(table["text"].to_pylist(), table["references"].to_pylist(), strict=True))
        grouped = group_meanings(
            (text.replace("\r\n", "\n"), words.replace("\r\n", "\n")) for text, words in pairs
        )
        return grouped, [f"{len(pairs)} references of {len(grouped['text'])} records"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: {error}", "correct hub.columns in the task's YAML") from error


def _entries(table: pa.Table) -> Iterator[Entry]:
    """WebNLG as the hub has it: {"mtriple_set": [[triple, ...]]} and {"comment": [...], "text": [...]} per entry."""
    columns = (table[name].to_pylist() for name in ("category", "triples", "references"))
    for category, triples, lexicalisations in zip(*columns, strict=True):
        marked = zip(lexicalisations["comment"], lexicalisations["text"], strict=True)
        yield Entry(category, triples["mtriple_set"][0], list(marked))
