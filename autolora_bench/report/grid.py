"""A table as rows of short texts: the step that all formats share."""

from collections.abc import Sequence
from dataclasses import dataclass

from autolora_bench.report import numerals
from autolora_bench.report.columns import Column
from autolora_bench.report.scoreboard import Cell, PublishedRow, Row, Table

MISSING = "--"


@dataclass(frozen=True)
class Heading:
    """Two lines above a column: the task and what is scored."""

    top: str
    bottom: str = ""
    column: Column | None = None


@dataclass(frozen=True)
class Text:
    """One field of a table."""

    value: str = ""
    spread: str = ""
    """Standard deviation, without the sign ±."""
    note: str = ""
    """In brackets: another n, or the difference to a published value."""
    dagger: bool = False
    bold: bool = False
    column: Column | None = None


@dataclass(frozen=True)
class Line:
    """One line of a table."""

    texts: tuple[Text, ...]
    row: Row | None
    """The row of ours that it is, or whose setting was published; None for other published rows."""
    published: bool


@dataclass(frozen=True)
class Grid:
    """Headings and lines of the same length."""

    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]


def grid_of(table: Table) -> Grid:
    """The table itself: our rows, each with the published values of its setting, then the backbone's other rows."""
    lines, timed = [], any(row.seconds is not None for row in table.rows)
    for row in table.rows:
        lines.append(Line(_ours(table, row, timed=timed), row, published=False))
        published = [_published(table, table.columns, one, timed=timed) for one in row.published]
        lines += [Line(texts, row, published=True) for texts in published]
    others = [_published(table, table.columns, one, timed=timed) for one in table.others]
    lines += [Line(texts, None, published=True) for texts in others]
    return Grid(_headings(table, table.columns, timed=timed), tuple(lines))


def elsewhere_grid(table: Table) -> Grid | None:
    """Published rows of other backbones over the columns they fill, without our times; None without any."""
    if not table.elsewhere:
        return None
    columns = [column for column in table.columns if any(column in row.values for row in table.elsewhere)]
    lines = [
        Line(_published(table, columns, row, timed=False), None, published=True) for row in table.elsewhere
    ]
    return Grid(_headings(table, columns, timed=False), tuple(lines))


def _headings(table: Table, columns: Sequence[Column], *, timed: bool) -> tuple[Heading, ...]:
    scores = [_heading(table, column) for column in columns if not column.is_average]
    averages = [Heading("average", column.subtitle, column) for column in columns if column.is_average]
    time = [Heading("training", "s")] if timed else []
    return (Heading("method"), *scores, Heading("parameters", "M"), *time, *averages)


def _heading(table: Table, column: Column) -> Heading:
    return Heading(column.title + ("*" if column.task in table.marked else ""), column.subtitle, column)


def _ours(table: Table, row: Row, *, timed: bool) -> tuple[Text, ...]:
    scores = [_score(row.cells[column], column, table.usual_n) for column in table.columns]
    parameters = numerals.span(row.parameters) if row.parameters else ""
    time = numerals.seconds(row.seconds) if row.seconds is not None else ""
    return _line(Text(row.label), scores, parameters, [time] if timed else [])


def _line(label: Text, scores: Sequence[Text], parameters: str, time: Sequence[str]) -> tuple[Text, ...]:
    tasks = [text for text in scores if not (text.column and text.column.is_average)]
    averages = [text for text in scores if text.column and text.column.is_average]
    return (label, *tasks, Text(parameters), *map(Text, time), *averages)


def _score(cell: Cell, column: Column, usual_n: int) -> Text:
    if cell.mean is None:
        return Text(cell.state, column=column)
    return Text(
        value=numerals.score(cell.mean),
        spread=numerals.score(cell.std) if cell.std is not None else "",
        note=f"n={cell.n}" if cell.n != usual_n else "",
        dagger=cell.few,
        bold=cell.best,
        column=column,
    )


def _published(
    table: Table, columns: Sequence[Column], row: PublishedRow, *, timed: bool
) -> tuple[Text, ...]:
    scores = [_published_score(row, column) for column in columns]
    label = f"published [{table.origins[row.origin]}]: {row.method}, {row.backbone}"
    return _line(Text(label), scores, row.parameters.removesuffix("M"), [""] if timed else [])


def _published_score(row: PublishedRow, column: Column) -> Text:
    if column not in row.values:
        return Text(column=column)
    spread = numerals.score(row.stds[column]) if column in row.stds else ""
    gap = row.differences.get(column)
    note = f"ours {numerals.difference(gap)}" if gap is not None else ""
    return Text(numerals.score(row.values[column]), spread, note, column=column)
