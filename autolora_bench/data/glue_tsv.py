"""GLUE's tab-separated files: no quoting at all, a header line or none, columns by name or position."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autolora_bench.config.task import (
    ClassificationTask,
    LocalSource,
    RecoveryTask,
    RegressionTask,
    TaskConfig,
)
from autolora_bench.data.files import local_source
from autolora_bench.data.schema import Columns
from autolora_bench.errors import UserError
from autolora_bench.tables.text_files import column, lines, quote, read_text


def read_glue_tsv(paths: Sequence[Path], task: TaskConfig) -> tuple[Columns, list[str]]:
    """Texts and labels of the files, in their order, every cell exactly as it stands; for a recovery task texts alone.

    Raises:
        UserError: a row lacks a column, or a label is not one of the task's; with file and line.
    """
    source = local_source(task)
    names = _names(task)
    columns: Columns = {name: [] for name in names}
    for path in paths:
        _read_file(path, source, columns, _label_parser(task, source))
    return columns, []


def _names(task: TaskConfig) -> list[str]:
    match task:
        case ClassificationTask() | RegressionTask():
            return [*task.texts, "label"]
        case RecoveryTask():
            return list(task.texts)
    raise UserError(
        f"task {task.name} cannot be read from the layout glue_tsv", "correct local.layout in its YAML"
    )


def _read_file(path: Path, source: LocalSource, columns: Columns, label: Callable[[str], Any]) -> None:
    rows = lines(read_text(path))
    header = next(rows)[1].split("\t") if source.header else None
    positions = {name: _position(path, header, source.columns.get(name, name)) for name in columns}
    fewest = max(max(positions.values()) + 1, -min(positions.values()))
    width = len(header) if header else None
    count = 0
    for number, line in rows:
        cells = line.split("\t")
        if width is None and min(positions.values()) >= 0:
            width = max(len(cells), fewest)  # a further tab would cut a text
        if len(cells) < fewest or (width is not None and len(cells) != width):
            raise UserError(
                f"{path}, line {number}: {len(cells)} columns where {width or fewest} are expected",
                "restore the line's tabs or remove the line",
            )
        for name, position in positions.items():
            if name == "label":
                columns[name].append(_parse(path, number, label, cells[position]))
            else:
                columns[name].append(cells[position])
        count += 1
    if not count:
        raise UserError(f"{path} has a header line and no rows", "download the file again")


def _position(path: Path, header: list[str] | None, named: Any) -> int:
    mend = "check that the file is the publisher's, or correct local.columns in the task's YAML"
    return named if isinstance(named, int) else column(path, header or [], named, mend)


def _parse(path: Path, number: int, label: Callable[[str], Any], cell: str) -> Any:
    try:
        return label(cell)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: {error}", "correct the label or remove the line") from error


def _label_parser(task: TaskConfig, source: LocalSource) -> Callable[[str], Any]:
    if isinstance(task, ClassificationTask):
        return _class_parser(source.labels or task.labels)
    if isinstance(task, RegressionTask):
        return _number_parser(task.minimum, task.maximum)
    return str


def _class_parser(names: Sequence[str]) -> Callable[[str], int]:
    indices = {name: index for index, name in enumerate(names)}

    def parse(cell: str) -> int:
        if cell not in indices:
            raise ValueError(f"label {quote(cell)} is none of {', '.join(names)}")
        return indices[cell]

    return parse


def _number_parser(minimum: float, maximum: float) -> Callable[[str], float]:
    def parse(cell: str) -> float:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            raise ValueError(f"{quote(cell)} is not a number from {minimum:g} to {maximum:g}")
        return value

    return parse
