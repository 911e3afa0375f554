"""One self-contained HTML file: verdict, charts, tables, and the runs behind a cell. It loads nothing from anywhere."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from autolora_bench import __version__
from autolora_bench.config.registry import UNTRAINED
from autolora_bench.report import numerals
from autolora_bench.report.arena import Arena, RankProfile
from autolora_bench.report.chance import chances_of
from autolora_bench.report.charts import arena_chart, score_chart
from autolora_bench.report.costs import cost_reports
from autolora_bench.report.formats import ELSEWHERE, PlainTable, elsewhere_grid, grid_of
from autolora_bench.report.leaderboard import matrix_of, view_of
from autolora_bench.report.notes import origin_notes
from autolora_bench.report.page_plots import curve_panels, estimator_panels, rate_panels, trajectory_panels
from autolora_bench.report.prepared import Exhibits, Report
from autolora_bench.report.quality import column_title
from autolora_bench.report.rank_maps import RankMap, RowRanks, rank_maps
from autolora_bench.report.rows import Variant
from autolora_bench.report.run_details import run_details
from autolora_bench.report.runs import Run, told
from autolora_bench.report.scoreboard import Row, Table
from autolora_bench.report.search_lines import trajectories_of
from autolora_bench.report.standings import Standings, fullest, main_column, shown_columns, standings_of
from autolora_bench.report.tuning import TunedCell
from autolora_bench.report.verdict import Card, arena_card, card_of

ASSETS = Path(__file__).resolve().parent / "assets"
SCRIPTS = ("page.js", "chart.js")
HEAT = 8
"""Steps from rank 0 to the largest."""


def page(prepared: Report, shown: Exhibits | None) -> str:
    """The page's HTML; without `shown` no further tables and no line charts, which take a moment."""
    tables, runs, arenas, tuned = prepared.tables, prepared.runs, prepared.arenas, prepared.tuned
    style = Markup((ASSETS / "page.css").read_text(encoding="utf-8"))
    script = Markup("\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS))
    number = {id(run): index for index, run in enumerate(runs)}
    scored = [_Scored.of(table) for table in tables]
    sections = [_score_section(one, number) for one in scored]
    fields = [_arena_section(model, arenas) for model in dict.fromkeys(arena.model for arena in arenas)]
    charts = [part["chart"] for part in [*fields, *sections] if part["chart"]]
    data = run_details(runs) | {
        "charts": [chart.data for chart in charts],
        "versus": [part["matrix"]["versus"] for part in sections if part["matrix"]],
    }
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=prepared.title,
            style=style,
            script=script,
            policy=_policy(style, script),
            cards=[*map(arena_card, arenas), *(one.card(tuned) for one in scored)],
            remarks=[*prepared.remarks, *(f"UNREADABLE {one}" for one in (shown.problems if shown else ()))],
            filters=_filters(tables),
            overview=_overview(scored, number),
            arenas=fields,
            scores=sections,
            first=[table for table in prepared.first if not table.drawn],
            extra=[*prepared.rates, *prepared.comparisons, *cost_reports(prepared.costs)] if shown else [],
            panels=[*rate_panels(tuned), *curve_panels(tables)] if shown else [],
            inside=_inside(prepared, shown) if shown else None,
            elsewhere=ELSEWHERE,
            facts=_facts([*runs, *prepared.planted], arenas),
            citation=_citation(prepared.title),
            data=_data(data),
        )
    )


def fragment(table: PlainTable) -> str:
    """A table and its notes as HTML without a page around it."""
    module: Any = _environment().get_template("tables.html.j2").module
    return str(module.plain(table)).strip()


@cache
def _environment() -> Environment:
    """Escapes whatever a template prints."""
    return Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=_printable,
    )


def _printable(value: Any) -> Any:
    """Characters that HTML forbids become spaces."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in value)


@dataclass(frozen=True)
class _Scored:
    """A table with what its columns' statistics say."""

    table: Table
    standings: tuple[Standings, ...]
    """The main column's first."""

    @classmethod
    def of(cls, table: Table) -> "_Scored":
        return cls(table, tuple(standings_of(table, column) for column in shown_columns(table)))

    @property
    def main(self) -> Standings | None:
        return self.standings[0] if main_column(self.table) else None

    def card(self, tuned: Sequence[TunedCell]) -> Card:
        return card_of(self.table, self.main, chances_of(self.table), tuned)


def _filters(tables: Sequence[Table]) -> list[tuple[str, str, dict[str, str]]]:
    """Check boxes for models, tasks and methods, where there is a choice."""
    tasks = {column.task: column.title for one in tables for column in one.columns if not column.is_average}
    methods = {row.method: _method_title(row) for one in tables for row in one.rows}
    models = {one.model: one.model for one in tables}
    groups = [("model", "Models", models), ("task", "Tasks", tasks), ("method", "Methods", methods)]
    return [group for group in groups if len(group[2]) > 1]


def _method_title(row: Row) -> str:
    return row.label if row.method == UNTRAINED else row.runs[0].method_title


def _score_section(scored: _Scored, number: Mapping[int, int]) -> dict[str, Any]:
    table, chances = scored.table, chances_of(scored.table)
    elsewhere, widest = elsewhere_grid(table), fullest(scored.standings)
    limits = [
        f"Chance: {column_title(column)} {numerals.score(chance.level)}; a guesser stays at or below "
        f"{numerals.score(chance.limit)} in 95 % of evaluations of {chance.examples:,} examples; hatched: no better."
        for column, chance in chances.items()
    ]
    places = (
        "Place: ties share places. 1\N{EN DASH}4 says that the tests leave the places 1 to 4 open; the paired "
        "comparisons keep their family's answers, all other pairs of the column are corrected among themselves."
    )
    return {
        "table": table,
        "model": table.model,
        "grid": view_of(table, grid_of(table), number, scored.main, chances),
        "elsewhere": view_of(table, elsewhere, None) if elsewhere else None,
        "notes": [places, *limits] if scored.main else [],
        "chart": score_chart(table, scored.standings, chances, dict(number)),
        "matrix": matrix_of(table, widest) if widest else None,
    }


def _overview(scored: Sequence[_Scored], number: Mapping[int, int]) -> dict[str, Any] | None:
    """Models side by side: every method's main score with each; None for one model."""
    known = [one for one in scored if one.main]
    if len(known) < 2:
        return None
    telling: dict[str, dict[str, None]] = {}
    for row in (row for one in known for row in one.table.rows):
        telling.setdefault(row.method, {}).update(dict.fromkeys(name for name, _ in row.variant))
    keyed = [_keyed(one, telling) for one in known]
    rows = []
    for key in dict.fromkeys(key for one in keyed for key in one):
        same = [one[key] for one in keyed if key in one]
        label = next((row.label for row in same if row.variant), _method_title(same[0]))
        fields = [_field(one, found.get(key), number) for one, found in zip(known, keyed, strict=True)]
        if any(text for text, _, _ in fields):
            rows.append((key[0], label, fields))
    heads = [(one.table.model, column_title(one.main.column)) for one in known if one.main]
    return {"heads": heads, "rows": rows}


def _keyed(scored: _Scored, telling: Mapping[str, Iterable[str]]) -> dict[tuple[str, Variant], Row]:
    """The table's rows by what makes rows of two models the same: the method, and its values of the settings that tell
    rows of it apart in any of them.

    A model has its own rates: they tell rows of one model apart, and never the main rows of two.
    """
    found: dict[tuple[str, Variant], Row] = {}
    for row in scored.table.rows:
        task = scored.main.column.task if scored.main else ""
        runs = row.by_task.get(task) or row.runs
        settings = runs[0].settings | dict(row.variant)
        names = [name for name in telling[row.method] if not (row.main and name.endswith("learning_rate"))]
        key = row.method, tuple((name, told(settings, name)) for name in names)
        while key in found:
            key = row.method, (*key[1], ("", row.label))
        found[key] = row
    return found


def _field(scored: _Scored, row: Row | None, number: Mapping[int, int]) -> tuple[str, str, str]:
    """Text, runs and name of a button."""
    cell = row.cells[scored.main.column] if row and scored.main else None
    if row is None or cell is None or cell.mean is None:
        return "", "", ""
    assert scored.main is not None
    written = scored.main.column.written
    spread = f" ± {written(cell.std)}" if cell.std is not None else ""
    runs = cell.runs or row.runs
    told = f"{row.label} with {scored.table.model}: {written(cell.mean)}. Show runs"
    return f"{written(cell.mean)}{spread}", " ".join(str(number[id(run)]) for run in runs), told


def _arena_section(model: str, arenas: Sequence[Arena]) -> dict[str, Any]:
    own = [arena for arena in arenas if arena.model == model]
    return {
        "model": model,
        "chart": arena_chart(own),
        "maps": [(arena.title, _arena_map(arena, arena.truth)) for arena in own if arena.truth],
    }


def _arena_map(arena: Arena, truth: RankProfile) -> dict[str, Any]:
    """True and found ranks below each other."""
    profiles = [truth, *arena.found]
    top = max(rank for profile in profiles for rank in profile.ranks)
    known = {
        str(row["title"]): numerals.score(row["regret"])
        for _, row in arena.rows.iterrows()
        if row["regret"] == row["regret"]
    }
    rows = [
        (
            profile.label,
            [(numerals.rank(rank), _heat(rank, top)) for rank in profile.ranks],
            known.get(profile.label, ""),
        )
        for profile in profiles
    ]
    return {"layers": len(truth.ranks), "averaged": arena.averaged, "rows": rows}


def _heat(rank: float, top: float) -> int:
    return round(HEAT * rank / top) if top > 0 else 0


def _inside(prepared: Report, shown: "Exhibits") -> dict[str, Any] | None:
    """What was seen inside the searches, which a page shows folded."""
    trajectories, _ = trajectories_of(prepared.tables, prepared.collection.folders)
    tables = [*shown.stability, *prepared.agreement, *prepared.moved]
    panels = [*estimator_panels(prepared.tables), *trajectory_panels(trajectories)]
    maps = [
        (found.table.model, found.row.method, found.row.label, [_map(*one) for one in _side_by_side(found)])
        for found in rank_maps(prepared.tables)
    ]
    return {"tables": tables, "panels": panels, "maps": maps} if tables or maps or panels else None


def _side_by_side(found: RowRanks) -> list[tuple[RankMap, float]]:
    pairs = [
        [ours, *([found.beside[task]] if task in found.beside else [])] for task, ours in found.maps.items()
    ]
    top = max(rank for pair in pairs for one in pair for rank in one.ranks.values())
    return [(one, top) for pair in pairs for one in pair]


def _map(ranks: RankMap, top: float) -> dict[str, Any]:
    places = [
        (
            projection,
            [
                (numerals.rank(ranks.ranks[block, projection]), _heat(ranks.ranks[block, projection], top))
                if (block, projection) in ranks.ranks
                else ("", 0)
                for block in ranks.blocks
            ],
        )
        for projection in ranks.projections
    ]
    return {"title": ranks.title, "blocks": ranks.blocks, "rows": places}


def _facts(runs: Sequence[Run], arenas: Sequence[Arena]) -> list[str]:
    """What the page was made from: nothing here depends on when it was made."""
    records = [run.completed for run in runs if run.completed]
    told = []
    if records:
        dates = sorted(str(record.finished or "")[:10] for record in records)
        when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
        told.append(
            f"{numerals.plural(len(records), 'completed run')}, finished {when or 'at an unknown date'}."
        )
        told += origin_notes(records)
    if arenas:
        methods = {title for arena in arenas for title in arena.rows["title"]}
        plants = {plant for arena in arenas for plant in arena.plants.index.unique("plant")}
        told.append(
            f"{numerals.plural(len(methods), 'method')} on {numerals.plural(len(plants), 'plant')} with known ranks, "
            f"in {numerals.plural(len(arenas), 'setting')}."
        )
    return [*told, f"Page by autolora-bench {__version__}."]


def _citation(title: str) -> str:
    return (
        "@software{autolora_bench,\n"
        "  title = {autolora-bench: honest, fast, reproducible benchmarking of low-rank fine-tuning},\n"
        "  author = {{The autolora-bench authors}},\n"
        f"  version = {{{__version__}}},\n"
        f"  note = {{Report: {' '.join(title.split())}}}\n"
        "}"
    )


def _data(data: dict[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _policy(style: str, script: str) -> Markup:
    """Only this very style and script, no images, no connection to anywhere."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return Markup(
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
