"""The page's table of scores: best first, tinted, ties as places, guessing marked; and who beats whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean
from typing import Any

from autolora_bench.report import numerals
from autolora_bench.report.chance import Chance
from autolora_bench.report.formats import Grid, Heading, Line, Text
from autolora_bench.report.palette import looks_of
from autolora_bench.report.quality import column_title
from autolora_bench.report.scoreboard import Column, Row, Table, unit_of
from autolora_bench.report.standings import Pair, Standings

TINTS = 8
"""Steps from the worst to the best score of a column."""
WITH_NUMBERS = 12
"""Longer win matrices show colours alone; a field's title says the number."""


@dataclass(frozen=True)
class Field:
    """One field of the leaderboard."""

    text: Text
    value: str = ""
    """To sort by."""
    runs: str = ""
    """Numbers of the runs that it opens, empty where it opens none."""
    called: str = ""
    """What its button is called."""
    tint: int | None = None
    guess: bool = False
    """Whether the score is no better than chance."""


def view_of(
    table: Table,
    grid: Grid,
    number: Mapping[int, int] | None,
    standing: Standings | None = None,
    chances: Mapping[Column, Chance] | None = None,
) -> dict[str, Any]:
    """A grid for the template.

    Args:
        table: the grid's.
        grid: of the table's rows, or of published ones.
        number: id of a run -> its number on the page; with it cells open their runs and rows can be sorted.
        standing: what the rows are ordered by, best first; rows that it does not rank follow.
        chances: what guessing scores.
    """
    grid = _averages_first(grid) if standing and standing.column.is_average else grid
    groups = [list(lines) for _, lines in groupby(grid.lines, key=lambda line: id(line.row))]
    order = {id(table.rows[row]): n for n, row in enumerate(standing.order)} if standing else {}
    places = list(enumerate(groups))
    ranked = sorted(places, key=lambda place: (order.get(id(place[1][0].row), len(order)), place[0]))
    tints = {column: _tints(table, column) for column in table.columns}
    looks = {id(row): look for row, look in zip(table.rows, looks_of(table.rows), strict=True)}
    return {
        "sortable": number is not None,
        "sorted": standing.column if standing else None,
        "direction": "descending" if not standing or standing.column.metric.higher_is_better else "ascending",
        "tops": [(own[0], len(own)) for own in _joined(grid.headings)],
        "bottoms": grid.headings,
        "bodies": [
            (
                lines[0].row,
                place,
                looks.get(id(lines[0].row)),
                _place(table, lines[0].row, standing),
                [
                    (line.published, _name(line), _fields(line, number, tints, chances or {}))
                    for line in lines
                ],
            )
            for place, lines in ranked
        ],
    }


def _averages_first(grid: Grid) -> Grid:
    """The grid with its averages behind the names, where a narrow window shows what the rows are ordered by."""
    last = [n for n, heading in enumerate(grid.headings) if heading.column and heading.column.is_average]
    order = [0, *last, *(n for n in range(1, len(grid.headings)) if n not in last)]
    return Grid(
        tuple(grid.headings[n] for n in order),
        tuple(replace(line, texts=tuple(line.texts[n] for n in order)) for line in grid.lines),
    )


def _joined(headings: Sequence[Heading]) -> list[list[Heading]]:
    """Neighbouring headings of one task share a field."""
    same = groupby(headings, key=lambda heading: (heading.top, heading.column and heading.column.task))
    return [list(own) for _, own in same]


def _name(line: Line) -> tuple[str, str]:
    """A row's title and the settings that tell it from the method's other rows."""
    label = line.texts[0].value
    if line.published or line.row is None:
        return label, ""
    title = line.row.runs[0].method_title
    if title and label.startswith(f"{title}, "):
        return title, label.removeprefix(f"{title}, ")
    return label, ""


def _place(table: Table, row: Row | None, standing: Standings | None) -> str:
    """`1`, or `1-4` where ties leave four places open; empty for rows that are not ranked."""
    if row is None or standing is None:
        return ""
    position = next(n for n, one in enumerate(table.rows) if one is row)
    if position not in standing.order:
        return ""
    first, last = standing.places(position)
    return str(first) if first == last else f"{first}\N{EN DASH}{last}"


def _fields(
    line: Line,
    number: Mapping[int, int] | None,
    tints: Mapping[Column, Mapping[int, int]],
    chances: Mapping[Column, Chance],
) -> list[Field]:
    found: list[Field] = []
    for text in line.texts[1:]:
        if line.published or line.row is None or text.column is None or number is None:
            found.append(Field(text))
            continue
        cell = line.row.cells[text.column]
        runs = cell.runs or (line.row.runs if text.column.is_average and cell.mean is not None else ())
        chance = chances.get(text.column)
        found.append(
            Field(
                text,
                value="" if cell.mean is None else f"{cell.mean:.10g}",
                runs=" ".join(str(number[id(run)]) for run in runs),
                called=f"{line.row.label}, {column_title(text.column)}: {text.value}. Show runs",
                tint=tints[text.column].get(id(line.row)),
                guess=chance is not None and chance.holds(cell.mean),
            )
        )
    return found


def _tints(table: Table, column: Column) -> dict[int, int]:
    """id of a row -> 0 for the worst score to `TINTS` for the best; where seeds vary more than rows, all are dark."""
    sign = 1.0 if column.metric.higher_is_better else -1.0
    scores = {id(row): sign * mean for row in table.rows if (mean := row.cells[column].mean) is not None}
    if len(scores) < 2:
        return {}
    spreads = [std for row in table.rows if (std := row.cells[column].std) is not None]
    best = max(scores.values())
    span = max(best - min(scores.values()), 4.0 * fmean(spreads) if spreads else 0.0)
    if span <= 0:
        return {}
    return {row: round(TINTS * (1.0 - (best - score) / span)) for row, score in scores.items()}


def matrix_of(table: Table, standing: Standings) -> dict[str, Any] | None:
    """Who beats whom in the main column, for the template and the page's script; None for fewer than two rows.

    Returns:
        title; unit (of differences); numbers (whether fields show them); rows: label, method and fields, each None
        without a pair, else method (of the column), text, title, tint (-4 far behind to 4 far ahead), separated; and
        versus for `compare with`: row -> label, difference, interval, pairs and answer for every other row. Positive
        differences favour the row, also where lower is better.
    """
    if len(standing.order) < 2:
        return None
    known = {(pair.first, pair.second): (pair, 1.0) for pair in standing.pairs}
    known |= {(pair.second, pair.first): (pair, -1.0) for pair in standing.pairs}
    widest = max((abs(pair.mean) for pair in standing.pairs), default=0.0) or 1.0
    labels = [row.label for row in table.rows]
    rows = []
    for row in standing.order:
        fields = [
            _versus(labels, row, other, *known[row, other], widest) | {"method": table.rows[other].method}
            if (row, other) in known
            else None
            for other in standing.order
        ]
        rows.append({"label": labels[row], "method": table.rows[row].method, "fields": fields})
    versus = {
        labels[row]: [
            _told(labels[other], *known[row, other]) for other in standing.order if (row, other) in known
        ]
        for row in standing.order
    }
    return {
        "title": column_title(standing.column),
        "unit": unit_of([standing.column]),
        "numbers": len(rows) <= WITH_NUMBERS,
        "rows": rows,
        "versus": versus,
    }


def _versus(
    labels: Sequence[str], row: int, other: int, pair: Pair, sign: float, widest: float
) -> dict[str, Any]:
    difference = numerals.difference(sign * pair.mean)
    tint = round(4 * sign * pair.mean / widest)
    said = f"{labels[row]} against {labels[other]}: {difference}, {_answer(pair)}"
    return {"text": difference, "title": said, "tint": tint, "separated": pair.separated}


def _told(label: str, pair: Pair, sign: float) -> list[str]:
    ends = sorted(sign * end for end in pair.interval) if pair.interval else []
    return [
        label,
        numerals.difference(sign * pair.mean),
        " to ".join(map(numerals.difference, ends)),
        str(pair.pairs),
        _answer(pair),
    ]


def _answer(pair: Pair) -> str:
    if pair.adjusted is None:
        return "not tested"
    family = "the paired comparisons" if pair.claimed else "the other pairs"
    separated = "separated" if pair.separated else "not separated"
    return f"{separated}, p {numerals.p_value(pair.adjusted, 3)} after Holm over {family}"
