"""The page's charts of score against cost, as data: every number and every tie is computed here, the script draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from autolora_bench.report import numerals
from autolora_bench.report.arena import Arena, fewer_plants
from autolora_bench.report.chance import Chance
from autolora_bench.report.palette import Look, looks, looks_of
from autolora_bench.report.quality import MEASURES, Point, column_title, front, points_of
from autolora_bench.report.scoreboard import Column, Table
from autolora_bench.report.standings import Standings


@dataclass(frozen=True)
class Chart:
    """One chart with a choice of what is set against what."""

    title: str
    model: str
    data: dict[str, Any]
    """start: the y that is shown first. methods: label, method, shade, marker. ys: title, higher (is better), floor and
    what it is called, tested (whether any test was possible), ties (method -> those it is not separated from). xs:
    titles. points: y, x, method, size, score, low and high (what a bar shows), said, front (whether nothing is better
    at no more cost), runs."""
    bars: str
    """What a bar is."""


def score_chart(
    table: Table,
    standings: Sequence[Standings],
    chances: dict[Column, Chance],
    runs: dict[int, int],
) -> Chart | None:
    """Headline scores and averages against `MEASURES`; None where no column has two rows of known cost.

    Args:
        table: of one model.
        standings: of the columns to choose from, the first one shown.
        chances: what guessing scores.
        runs: id of a run -> its number on the page.
    """
    ys: list[dict[str, Any]] = []
    xs: list[str] = []
    points: list[dict[str, Any]] = []
    for standing in standings:
        column = standing.column
        found = {name: points_of(table, column, name) for name in MEASURES}
        found = {name: own for name, own in found.items() if len(own) > 1}
        if not found:
            continue
        chance = chances.get(column)
        ys.append(
            {
                "title": column_title(column),
                "higher": column.metric.higher_is_better,
                "floor": chance and chance.level,
                "called": "chance",
                "tested": standing.tested,
                "ties": {str(row): standing.ties(row) for row in standing.order},
            }
        )
        for name, own in found.items():
            if name not in xs:
                xs.append(name)
            ahead = {point.position for point in front(own, higher_is_better=column.metric.higher_is_better)}
            points += [
                _point(table, column, point, len(ys) - 1, xs.index(name), point.position in ahead, runs)
                for point in own
            ]
    if not points:
        return None
    data = {
        "start": max(range(len(ys)), key=lambda y: len(ys[y]["ties"])),
        "methods": [
            _method(row.label, row.method, look)
            for row, look in zip(table.rows, looks_of(table.rows), strict=True)
        ],
        "ys": ys,
        "xs": [MEASURES[name] for name in xs],
        "points": points,
    }
    return Chart(
        f"Score against cost: {table.model}",
        table.model,
        data,
        "standard deviation over seeds. A point opens its runs",
    )


def _method(label: str, method: str, look: Look) -> dict[str, Any]:
    return {"label": label, "method": method, "shade": look.shade, "marker": look.marker}


def _point(
    table: Table, column: Column, point: Point, y: int, x: int, ahead: bool, runs: dict[int, int]
) -> dict[str, Any]:
    cell = table.rows[point.position].cells[column]
    own = cell.runs
    if column.is_average:
        own = tuple(run for run in table.rows[point.position].runs)
    spread = f" ± {column.written(point.std)}" if cell.std is not None else ""
    return {
        "y": y,
        "x": x,
        "method": point.position,
        "size": float(f"{point.size:.4g}"),
        "score": _drawn(point.score),
        "low": _drawn(point.score - point.std),
        "high": _drawn(point.score + point.std),
        "said": f"{column.written(point.score)}{spread}, {numerals.plural(cell.n, 'seed')}",
        "front": ahead,
        "runs": [runs[id(run)] for run in own if id(run) in runs],
    }


def _drawn(value: float) -> float:
    """Three decimals, which is more than a line is wide where scores are per cent; four digits of small numbers."""
    return round(value, 3) if abs(value) >= 1 else float(f"{value:.4g}")


def arena_chart(arenas: Sequence[Arena]) -> Chart | None:
    """Regret against cost over the arenas of one model; None where no allocator has both."""
    labels = list(dict.fromkeys(str(title) for one in arenas for title in one.rows["title"]))
    methods = {str(row["title"]): str(row["method"]) for one in arenas for _, row in one.rows.iterrows()}
    families = [next(one.families[label] for one in arenas if label in one.families) for label in labels]
    ys: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for arena in arenas:
        own = arena.rows.dropna(subset=["regret", "cost"])
        if own.empty:
            continue
        drawn = [Point(str(r["title"]), n, r["cost"], r["regret"], 0.0) for n, r in own.iterrows()]
        ahead = {point.label for point in front(drawn, higher_is_better=False)}
        title = ", ".join(filter(None, ["regret", arena.mode, arena.setting]))
        ys.append({"title": title, "higher": False, "floor": 1.0, "called": "uniform ranks", "tested": False})
        ys[-1]["ties"] = {}
        points += [
            _arena_point(row, len(ys) - 1, labels, str(row["title"]) in ahead) for _, row in own.iterrows()
        ]
    if not points:
        return None
    data = {
        "start": 0,
        "methods": [
            _method(label, methods[label], look) for label, look in zip(labels, looks(families), strict=True)
        ],
        "ys": ys,
        "xs": ["cost, LoRA trainings"],
        "points": points,
    }
    model = arenas[0].model
    return Chart(
        f"Regret against cost: {model}", model, data, "95 % interval over plants, where there are six"
    )


def _arena_point(row: pd.Series, y: int, labels: Sequence[str], ahead: bool) -> dict[str, Any]:
    low, high = row["regret_low"], row["regret_high"]
    known = pd.notna(low)
    interval = f" [{numerals.score(low)}, {numerals.score(high)}]" if known else ""
    plants = fewer_plants(row) or numerals.plural(int(row["plants"]), "plant")
    return {
        "y": y,
        "x": 0,
        "method": labels.index(str(row["title"])),
        "size": float(f"{row['cost']:.4g}"),
        "score": round(float(row["regret"]), 3),
        "low": round(float(low if known else row["regret"]), 3),
        "high": round(float(high if known else row["regret"]), 3),
        "said": f"{numerals.score(row['regret'])}{interval}, {plants}",
        "front": ahead,
        "runs": [],
    }
