"""One self-contained HTML file: tables, figures and the runs behind every cell. It loads nothing from anywhere."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from autolora_bench.config.registry import UNTRAINED
from autolora_bench.record import Evaluation, PhaseRecord, RunRecord
from autolora_bench.report import numerals
from autolora_bench.report.formats import ELSEWHERE, Grid, Heading, Line, PlainTable, elsewhere_grid, grid_of
from autolora_bench.report.runs import Run, flatten, hardware
from autolora_bench.report.scoreboard import Column, Table
from autolora_bench.report.units import metric_of, metric_title

if TYPE_CHECKING:
    from autolora_bench.report.figures.style import Picture

ASSETS = Path(__file__).resolve().parent / "assets"
TRAJECTORIES = 2
"""A page shows so many trajectories; the folder holds all."""
HISTORY_RUNS = 1000
"""A page of more runs than this leaves their histories out, to stay small."""
Section = dict[str, Any]
"""title, head (list of texts), rows (lists of texts)."""


def page(
    tables: Sequence[Table],
    runs: Sequence[Run],
    *,
    title: str,
    first: Sequence[PlainTable] = (),
    pictures: "Sequence[Picture]" = (),
    extra: Sequence[PlainTable] = (),
    remarks: Sequence[str] = (),
) -> str:
    """The page's HTML.

    Args:
        tables: score tables, one per model.
        runs: those that the tables' cells rest on.
        title: heading of the page.
        first: tables before the scores.
        pictures: figures, shown below the tables.
        extra: further tables.
        remarks: what a reader must know of the whole, e.g. conflicts and unreadable records.
    """
    style, script = (Markup((ASSETS / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))
    number = {id(run): index for index, run in enumerate(runs)}
    figures = [(base64.b64encode(picture.svg).decode(), picture.alt, picture.caption) for picture in pictures]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            style=style,
            script=script,
            policy=_policy(style, script),
            remarks=remarks,
            filters=_filters(tables),
            scores=[_score_section(table, number) for table in tables],
            first=first,
            extra=extra,
            figures=figures,
            elsewhere=ELSEWHERE,
            data=_data(page_data(runs)),
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


def _filters(tables: Sequence[Table]) -> list[tuple[str, str, dict[str, str]]]:
    """Check boxes for models, tasks and methods, where there is a choice."""
    tasks = {column.task: column.title for one in tables for column in one.columns if not column.is_average}
    methods = {
        row.method: row.label if row.method == UNTRAINED else row.runs[0].method_title
        for one in tables
        for row in one.rows
    }
    models = {one.model: one.model for one in tables}
    groups = [("model", "Models", models), ("task", "Tasks", tasks), ("method", "Methods", methods)]
    return [group for group in groups if len(group[2]) > 1]


def _score_section(table: Table, number: Mapping[int, int]) -> dict[str, Any]:
    elsewhere = elsewhere_grid(table)
    return {
        "table": table,
        "grid": _view(grid_of(table), number),
        "elsewhere": _view(elsewhere, None) if elsewhere else None,
    }


def _view(grid: Grid, number: Mapping[int, int] | None) -> dict[str, Any]:
    """A grid for the template; with `number` cells open their runs, and headings and rows can be sorted."""
    groups = [list(lines) for _, lines in groupby(grid.lines, key=lambda line: id(line.row))]
    return {
        "sortable": number is not None,
        "tops": [(own[0], len(own)) for own in _joined(grid.headings)],
        "bottoms": grid.headings,
        "bodies": [
            (lines[0].row, [(line.published, line.texts[0], _cells(line, number)) for line in lines])
            for lines in groups
        ],
    }


def _joined(headings: Sequence[Heading]) -> list[list[Heading]]:
    """Neighbouring headings of one task share a field."""
    same = groupby(headings, key=lambda heading: (heading.top, heading.column and heading.column.task))
    return [list(own) for _, own in same]


def _cells(line: Line, number: Mapping[int, int] | None) -> list[tuple[Any, ...]]:
    """Text, value to sort by, numbers of the runs behind it, and what its button is called."""
    found: list[tuple[Any, ...]] = []
    for text in line.texts[1:]:
        if line.published or line.row is None or text.column is None or number is None:
            found.append((text, None, "", ""))
            continue
        cell = line.row.cells[text.column]
        value = None if cell.mean is None else f"{cell.mean:.6f}"
        label = f"{line.row.label}, {_name(text.column)}: {text.value}. Show runs"
        found.append((text, value, " ".join(str(number[id(run)]) for run in cell.runs), label))
    return found


def _name(column: Column) -> str:
    return " ".join(filter(None, [column.title, column.subtitle]))


def _data(data: dict[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _policy(style: str, script: str) -> Markup:
    """Only this very style and script, only inlined images, no connection to anywhere."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return Markup(
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def page_data(runs: Sequence[Run]) -> dict[str, Any]:
    """Runs by position and, once each, the settings they share, for the page's script."""
    settings = {run.config_id: sorted(flatten(run.config).items()) for run in runs}
    with_history = len(runs) <= HISTORY_RUNS
    return {"settings": settings, "runs": [_run(run, with_history) for run in runs]}


def _run(run: Run, with_history: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "title": f"{run.task}, {run.method}, {run.model}, seed {run.seed}",
        "state": run.state.value,
        "command": run.command,
        "settings": run.config_id,
        "sections": [],
    }
    record = run.record
    if record is None:
        return shown
    sections = [
        _scores(record),
        _phases(record),
        _history(record, with_history),
        _ranks(record),
        _facts(record),
    ]
    shown["sections"] = [section for section in sections if section["rows"]]
    shown["curve"] = _curve(record)
    if record.error:
        shown["error"] = {
            name: str(record.error.get(name, "")) for name in ("type", "message", "mend", "traceback")
        }
    return shown


def _scores(record: RunRecord) -> Section:
    moments = (("best epoch", record.best), ("last epoch", record.last), ("test", record.test))
    rows = [
        [
            moment,
            split,
            f"{evaluation.epoch:g}",
            metric_title(metric),
            _value(record, metric, value),
            evaluation.note or "",
        ]
        for moment, evaluations in moments
        for split, evaluation in evaluations.items()
        for metric, value in evaluation.scores.items()
    ]
    return {"title": "Scores", "head": ["moment", "split", "epoch", "metric", "value", "note"], "rows": rows}


def _phases(record: RunRecord) -> Section:
    head = ["phase", "status", "time", "training", "CPU", "steps", "tokens/s", "peak memory"]
    return {"title": "Phases", "head": head, "rows": [_phase(phase) for phase in record.phases]}


def _phase(phase: PhaseRecord) -> list[str]:
    speed = f"{phase.tokens / phase.train_seconds:,.0f}" if phase.tokens and phase.train_seconds else ""
    memory = f"{phase.peak_memory_bytes / 2**30:.2f} GiB" if phase.peak_memory_bytes is not None else ""
    steps = "" if phase.steps is None else f"{phase.steps:,}"
    training, cpu = (
        "" if seconds is None else numerals.duration(seconds)
        for seconds in (phase.train_seconds, phase.train_cpu_seconds)
    )
    time = numerals.duration(phase.seconds)
    return [phase.name, str(phase.status), time, training, cpu, steps, speed, memory]


def _history(record: RunRecord, wanted: bool) -> Section:
    metrics = list(dict.fromkeys(metric for evaluation in record.history for metric in evaluation.scores))
    head = ["phase", "split", "epoch", "step", "training loss", *[metric_title(metric) for metric in metrics]]
    rows = [_moment(record, evaluation, metrics) for evaluation in record.history] if wanted else []
    return {"title": "History", "head": head, "rows": rows}


def _moment(record: RunRecord, evaluation: Evaluation, metrics: list[str]) -> list[str]:
    loss = "" if evaluation.train_loss is None else f"{evaluation.train_loss:.4f}"
    scores = [
        _value(record, metric, evaluation.scores[metric]) if metric in evaluation.scores else ""
        for metric in metrics
    ]
    return [evaluation.phase, evaluation.split, f"{evaluation.epoch:g}", str(evaluation.step), loss, *scores]


def _curve(record: RunRecord) -> list[list[float]]:
    """Epoch and headline score on the first split, in the published unit."""
    if not record.history or record.headline is None:
        return []
    split, scale = record.history[0].split, metric_of(record.headline, [record]).published_scale
    points = [(e.epoch, e.scores.get(record.headline)) for e in record.history if e.split == split]
    return [[round(epoch, 4), round(value * scale, 3)] for epoch, value in points if value is not None]


def _ranks(record: RunRecord) -> Section:
    projections = list(dict.fromkeys(layer.projection for layer in record.ranks))
    by_block: dict[str, dict[str, str]] = {}
    for layer in record.ranks:
        name = layer.module if layer.block is None else str(layer.block)
        by_block.setdefault(name, {})[layer.projection] = str(layer.rank)
    rows = [[block, *[ranks.get(name, "") for name in projections]] for block, ranks in by_block.items()]
    return {"title": "Ranks", "head": ["block", *projections], "rows": rows}


def _facts(record: RunRecord) -> Section:
    facts = {
        "started": record.started,
        "finished": record.finished,
        "hardware": hardware(record),
        **(
            {
                "parameters": f"{record.parameters.method:,} of the method, {record.parameters.head:,} of the head"
            }
            if record.parameters
            else {}
        ),
        **{f"data {name}": value for name, value in flatten(record.data).items()},
        **flatten(record.provenance),
    }
    return {
        "title": "Data and origin",
        "head": ["", ""],
        "rows": [[name, str(value)] for name, value in facts.items() if value],
    }


def _value(record: RunRecord, metric: str, value: float | None) -> str:
    return (
        "undefined" if value is None else numerals.score(value * metric_of(metric, [record]).published_scale)
    )
