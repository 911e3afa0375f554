"""Values that papers print: read from results/published.csv, and set beside our rows of the same setting."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from autolora_bench.errors import UserError
from autolora_bench.paths import results_dir
from autolora_bench.report.runs import grouped
from autolora_bench.report.scoreboard import AVERAGE, Cell, Column, PublishedRow, Row, Table, averaged_tasks
from autolora_bench.report.units import in_published_unit
from autolora_bench.tables.text_files import named_rows

FIELDS = (
    "source",
    "table",
    "backbone",
    "method",
    "parameters",
    "task",
    "metric",
    "value",
    "std",
    "how_known",
    "note",
)
HOULSBY = frozenset({"adapter_houlsby", "adapter_h"})
"""Names of Houlsby's adapter in the AdaLoRA and LoRA papers."""
UNITS = {"K": 1e-3, "M": 1.0, "B": 1e3}
"""Of published numbers of weights, in millions."""
WITHIN = 0.15
"""A published row counts as our setting if its number of weights is that close to ours."""


Group = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Published:
    """One cell of a published table, in the unit the paper prints."""

    source: str
    table: str
    backbone: str
    method: str
    parameters: str
    """Weights in millions, e.g. `0.3M`; empty where it is not known."""
    task: str
    """As ours, which means its first split, or the language that was trained on; `mnli_mm` names the mismatched one,
    `xnli_de` that in German, `webnlg/unseen` a subset, `average` the paper's own mean."""
    metric: str
    value: float
    std: float | None
    how_known: str
    note: str

    @property
    def group(self) -> tuple[str, str, str, str, str]:
        """What makes one row of the published table."""
        return self.source, self.table, self.backbone, self.method, self.parameters

    @property
    def weights(self) -> float | None:
        """The number of weights that `parameters` states, e.g. 300000 for `0.3M`."""
        return float(self.parameters.removesuffix("M")) * 1e6 if self.parameters else None


def own_values() -> list[Path]:
    """The project's own file of published values, if it is there."""
    file = results_dir() / "published.csv"
    return [file] if file.is_file() else []


def read_published(*files: Path) -> list[Published]:
    """Read published values.

    Args:
        files: CSV files with the columns `FIELDS`; of two values for one cell the later counts. None reads the
            project's own.

    Raises:
        UserError: a file cannot be read, a column is missing, or a value or a number of weights is none.
    """
    found: dict[tuple[tuple[str, ...], str, str], Published] = {}
    for file in files or own_values():
        for number, row in named_rows(file, FIELDS):
            value = _published(row, f"{file} line {number}")
            found[value.group, value.task, value.metric] = value
    return list(found.values())


def _published(row: dict[str, str], where: str) -> Published:
    texts = {name: row[name].strip() for name in FIELDS if name not in ("value", "std")}
    texts["task"] = texts["task"].removesuffix("/all")
    texts["parameters"] = _millions(texts["parameters"], where)
    return Published(
        **texts, value=_number(row["value"], where), std=_number(row["std"], where) if row["std"] else None
    )


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"{where}: {text!r} is not a number", "write a number, or remove the line: unknown cells stay out"
        )
    return value


def _millions(text: str, where: str) -> str:
    """A number of weights in millions, with an M behind it; a number without a unit is in millions already."""
    if not text:
        return ""
    unit = text[-1].upper()
    digits = text[:-1].strip() if unit in UNITS else text
    try:
        count = float(digits) * UNITS.get(unit, 1.0)
    except ValueError:
        count = math.nan
    if not 0 <= count < math.inf:
        raise UserError(
            f"{where}: parameters {text!r} is no number of weights",
            "write a number with K, M or B behind it, e.g. 0.3M, or leave it empty where it is not known",
        )
    return f"{count:.12g}M" if unit in ("K", "B") else f"{digits}M"


def backbone_name(model: str) -> str:
    """A model's name as papers write it: `roberta_base`, `FacebookAI/roberta-base` -> `roberta-base`."""
    return model.rstrip("/").rpartition("/")[2].lower().replace("_", "-")


def method_names(method: str, rank: object = None, placement: object = None) -> set[str]:
    """Names under which published tables may list our method: `lora` of rank 4 also as `lora_r4`."""
    names = {method, f"{method}_r{rank}"} if type(rank) is int else {method}
    return names | HOULSBY if (method, placement) == ("adapter", "houlsby") else names


def family(method: str) -> str:
    """`lora_r8 (no MNLI start)` -> `lora`."""
    return method.partition(" ")[0].partition("_")[0]


def same_size(published: Published, ours: float | None) -> bool:
    """Whether the published row has our number of weights, as far as both are known; any full fine-tuning has."""
    if published.weights is None or ours is None or family(published.method) == "full":
        return True
    return abs(published.weights - ours) <= WITHIN * max(published.weights, ours)


def attach_published(
    table: Table, published: Sequence[Published], backbone: str, generated: Collection[str] = ()
) -> Table:
    """The table with published rows: under ours where the setting is the same, else below, without a difference.

    Args:
        table: our rows.
        published: all published values.
        backbone: the table's, as papers write it.
        generated: tasks of made-up examples, beside which nothing is set.
    """
    columns = [column for column in table.columns if column.task not in generated]
    if generated:
        columns = [column for column in columns if not column.is_average]
    groups = grouped(published, lambda item: item.group)
    names = {family(row.method) for row in table.rows}
    same = {group for group in groups if group[2] == backbone}
    further = {column.published_key[0] for column in columns if column.suffix}
    tasks = {group: _averaged(group, published, further) for group in groups}
    rows, matched = [], set()
    for row in table.rows:
        mine = [group for group in same if _is_same_setting(groups[group][0], row)]
        matched.update(mine)
        cut = [
            _cut(groups[group], columns, _comparable(table, row), averaged=tasks[group])
            for group in groups
            if group in mine
        ]
        rows.append(replace(row, published=[published_row for published_row in cut if published_row.values]))
    others = [
        _cut(groups[group], columns, averaged=tasks[group]) for group in groups if group in same - matched
    ]
    elsewhere = [
        _cut(items, columns, averaged=tasks[group])
        for group, items in groups.items()
        if group not in same and family(group[3]) in names
    ]
    return replace(
        table,
        rows=rows,
        others=[row for row in others if row.values],
        elsewhere=[row for row in elsewhere if row.values],
    )


def _is_same_setting(published: Published, row: Row) -> bool:
    """Same method, same rank where the published name states one, same number of weights where both are known."""
    rank, placement = _common_setting(row, "rank"), _common_setting(row, "placement")
    ours = fmean(row.parameters) if row.parameters else None
    return published.method in method_names(row.method, rank, placement) and same_size(published, ours)


def _comparable(table: Table, row: Row) -> Row:
    """The row without the scores of tasks that were not run on the whole data or were cut short, and without averages
    over them."""
    short = {run.task for run in row.runs if run.setting("train", "max_steps")}
    left = {*table.marked, *short}
    cells = {
        column: Cell() if column.task in left or (column.is_average and left) else cell
        for column, cell in row.cells.items()
    }
    return replace(row, cells=cells)


def _common_setting(row: Row, name: str) -> object:
    """A setting of the method that all runs of a row share; None where they do not."""
    values = {repr(value): value for value in (run.setting("method", name) for run in row.runs)}
    return next(iter(values.values())) if len(values) == 1 else None


def _averaged(group: Group, published: Sequence[Published], further: Collection[str]) -> set[tuple[str, str]]:
    """Task and metric of what a published average is over: of its table; of its backbone where the table's are not on
    file. Neither subsets nor `further` splits of our tasks are counted."""
    source, table, backbone = group[:3]
    there = [p for p in published if p.backbone == backbone and p.task != AVERAGE]
    here = [p for p in there if (p.source, p.table) == (source, table)]
    tasks = [p for p in here or there if not p.task.endswith("_mm") and "/" not in p.task]
    return {(p.task, p.metric) for p in tasks if p.task not in further}


def _cut(
    items: list[Published],
    columns: Sequence[Column],
    ours: Row | None = None,
    *,
    averaged: set[tuple[str, str]],
) -> PublishedRow:
    """The published row's values in our columns, with differences where `ours` is given.

    Its average stands beside ours only where it is over the same tasks, which are `averaged` with their metrics, and
    is subtracted only where these are ours too.
    """
    found = {(item.task, item.metric): item for item in items}
    tasks = averaged_tasks(columns)
    counted = [column for column in columns if column.headline and column.task in tasks]
    other = sorted({column.published_key for column in counted} - averaged)
    held = {
        column: found[column.published_key]
        for column in columns
        if column.published_key in found
        and (not column.is_average or tasks == {task for task, _ in averaged})
    }
    values = {column: in_published_unit(column.metric, item.value) for column, item in held.items()}
    stds = {column: _scaled_std(column, item) for column, item in held.items() if item.std is not None}
    differences = {}
    for column, value in values.items() if ours else ():
        mean = ours.cells[column].mean if ours else None
        if mean is not None and not (column.is_average and other):
            differences[column] = mean - value
    first = items[0]
    remarks = [(item.note, item.how_known) for item in held.values()]
    notes = dict.fromkeys(text for note, known in remarks for text in (note, known) if text)
    if other and any(column.is_average for column in held):
        ours_are = ", ".join(f"{task} {metric}" for task, metric in other)
        notes[f"its average is over other metrics than ours, which counts {ours_are}"] = None
    return PublishedRow(*first.group, values, stds, differences, tuple(notes))


def _scaled_std(column: Column, item: Published) -> float:
    """The published standard deviation in the unit of its value."""
    scale = in_published_unit(column.metric, item.value) / item.value if item.value else 1.0
    return float(item.std or 0.0) * scale
