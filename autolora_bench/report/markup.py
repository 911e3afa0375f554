"""HTML pieces: escaping and tables. Everything that comes from a record passes through `escape`."""

import html
from collections.abc import Callable, Sequence
from itertools import groupby

from autolora_bench.report.columns import Column
from autolora_bench.report.entries import Entry
from autolora_bench.report.grid import Grid, Heading, Line, Text
from autolora_bench.report.scoreboard import Row

Number = Callable[[Entry], int]
"""Position of a run in the page's data."""


def escape(text: str) -> str:
    """Text as HTML, safe in content and in quoted attributes; characters that HTML forbids become spaces."""
    printable = "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)
    return html.escape(printable, quote=True)


def table(grid: Grid, caption: str, number: Number | None = None) -> str:
    """A table; with `number`, cells open their runs, and headings and rows carry what sorting and filtering need."""
    head = f"<thead>{_tops(grid)}{_bottoms(grid, sortable=number is not None)}</thead>"
    groups = [list(lines) for _, lines in groupby(grid.lines, key=lambda line: id(line.row))]
    bodies = "\n".join(_body(lines, number) for lines in groups)
    return f"<table><caption>{escape(caption)}</caption>\n{head}\n{bodies}\n</table>"


def _body(lines: Sequence[Line], number: Number | None) -> str:
    row = lines[0].row
    name = f' data-method="{escape(row.method)}"' if row else ""
    return f"<tbody{name}>{''.join(_line(line, number) for line in lines)}</tbody>"


def _line(line: Line, number: Number | None) -> str:
    first, *rest = line.texts
    kind = ' class="published"' if line.published else ""
    row = None if line.published else line.row
    cells = "".join(_cell(text, row, number) for text in rest)
    return f'<tr{kind}><th scope="row">{_content(first)}</th>{cells}</tr>'


def _cell(text: Text, row: Row | None, number: Number | None) -> str:
    column = text.column
    task = f' data-task="{escape(column.task)}"' if column else ""
    if row is None or column is None or number is None:
        return f"<td{task}>{_content(text)}</td>"
    cell = row.cells[column]
    value = f' data-value="{cell.mean:.6f}"' if cell.mean is not None else ""
    runs = " ".join(str(number(entry)) for entry in cell.entries)
    if not runs:
        return f"<td{task}{value}>{_content(text)}</td>"
    label = escape(f"{row.label}, {_name(column)}: {text.value}. Show runs")
    button = f'<button type="button" data-runs="{runs}" aria-label="{label}">{_content(text)}</button>'
    return f"<td{task}{value}>{button}</td>"


def _name(column: Column) -> str:
    return " ".join(filter(None, [column.title, column.subtitle]))


def _content(text: Text) -> str:
    value = escape(text.value)
    if text.spread:
        value += f" <small>± {escape(text.spread)}</small>"
    if text.bold:
        value = f"<b>{value}</b>"
    if text.dagger:
        value += "<sup>†</sup>"
    return value + (f" <small>({escape(text.note)})</small>" if text.note else "")


def _tops(grid: Grid) -> str:
    """First heading line: neighbouring columns of one task share a field."""
    cells, position = [], 0
    while position < len(grid.headings):
        end = position + 1
        while end < len(grid.headings) and _same(grid.headings[position], grid.headings[end]):
            end += 1
        first = grid.headings[position]
        task = f' data-task="{escape(first.column.task)}"' if first.column else ""
        cells.append(f'<th scope="colgroup" colspan="{end - position}"{task}>{escape(first.top)}</th>')
        position = end
    return f"<tr>{''.join(cells)}</tr>"


def _same(one: Heading, other: Heading) -> bool:
    return one.top == other.top and (one.column and one.column.task) == (other.column and other.column.task)


def _bottoms(grid: Grid, *, sortable: bool) -> str:
    cells = []
    for heading in grid.headings:
        task = f' data-task="{escape(heading.column.task)}"' if heading.column else ""
        words = escape(heading.bottom) or (("mean" if heading.column else "name") if sortable else "")
        content = f'<button type="button" data-sort>{words}</button>' if sortable else words
        cells.append(f'<th scope="col"{task}>{content}</th>')
    return f"<tr>{''.join(cells)}</tr>"
