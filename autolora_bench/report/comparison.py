"""Sets published rows beside ours: a difference only for the same backbone and the same setting."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from statistics import fmean

from autolora_bench.report.columns import Column
from autolora_bench.report.published import AVERAGE, Published, family, method_names, same_size
from autolora_bench.report.scoreboard import Cell, PublishedRow, Row, Table
from autolora_bench.report.units import in_published_unit

Group = tuple[str, str, str, str, str]


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
    groups: dict[Group, list[Published]] = {}
    for item in published:
        groups.setdefault(item.group, []).append(item)
    names = {family(row.method) for row in table.rows}
    same = {group for group in groups if group[2] == backbone}
    tasks = {group: _averaged_tasks(group, published) for group in groups}
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
    """The row without the scores of tasks that were not run on the whole data, and without averages over them."""
    cells = {
        column: Cell() if column.task in table.marked or (column.is_average and table.marked) else cell
        for column, cell in row.cells.items()
    }
    return replace(row, cells=cells)


def _common_setting(row: Row, name: str) -> object:
    """A setting of the method that all runs of a row share; None where they do not."""
    values = {
        repr(v): v for v in (e.setting("method", name) for cell in row.cells.values() for e in cell.entries)
    }
    return next(iter(values.values())) if len(values) == 1 else None


def _averaged_tasks(group: Group, published: Sequence[Published]) -> set[str]:
    """The tasks a published average is over: those of its table; of its backbone where the table's are not on file."""
    source, table, backbone = group[:3]
    here = {p.task for p in published if (p.source, p.table, p.backbone) == (source, table, backbone)}
    there = {p.task for p in published if p.backbone == backbone}
    tasks = here - {AVERAGE} or there - {AVERAGE}
    return {task for task in tasks if not task.endswith("_mm") and "/" not in task}


def _cut(
    items: list[Published],
    columns: Sequence[Column],
    ours: Row | None = None,
    *,
    averaged: set[str],
) -> PublishedRow:
    """The published row's values in our columns, with differences where `ours` is given.

    Its average stands beside ours only where it is over the same tasks, which are `averaged`.
    """
    found = {(item.task, item.metric): item for item in items}
    tasks = {column.task for column in columns if column.headline}
    held = {
        column: found[column.published_key]
        for column in columns
        if column.published_key in found and (not column.is_average or tasks == averaged)
    }
    values = {column: in_published_unit(column.metric, item.value) for column, item in held.items()}
    stds = {column: _scaled_std(column, item) for column, item in held.items() if item.std is not None}
    differences = {}
    for column, value in values.items() if ours else ():
        mean = ours.cells[column].mean if ours else None
        if mean is not None:
            differences[column] = mean - value
    first = items[0]
    remarks = [(item.note, item.how_known) for item in held.values()]
    notes = dict.fromkeys(text for note, known in remarks for text in (note, known) if text)
    return PublishedRow(*first.group, values, stds, differences, tuple(notes))


def _scaled_std(column: Column, item: Published) -> float:
    """The published standard deviation in the unit of its value."""
    scale = in_published_unit(column.metric, item.value) / item.value if item.value else 1.0
    return float(item.std or 0.0) * scale
