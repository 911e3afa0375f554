"""One self-contained HTML file: tables, figures and the runs behind every cell. It loads nothing from anywhere."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autolora_bench.report.entries import Entry
from autolora_bench.report.grid import elsewhere_grid, grid_of
from autolora_bench.report.markdown import ELSEWHERE
from autolora_bench.report.markup import escape, table
from autolora_bench.report.picture import Picture
from autolora_bench.report.plain import PlainTable
from autolora_bench.report.runs import page_data
from autolora_bench.report.scoreboard import Table

ASSETS = Path(__file__).resolve().parent / "assets"


def page(
    tables: Sequence[Table],
    entries: Sequence[Entry],
    *,
    title: str,
    pictures: Sequence[Picture] = (),
    extra: Sequence[PlainTable] = (),
    remarks: Sequence[str] = (),
) -> str:
    """The page's HTML.

    Args:
        tables: score tables, one per model.
        entries: the runs that the tables' cells rest on.
        title: heading of the page.
        pictures: figures, shown below the tables.
        extra: further tables.
        remarks: what a reader must know of the whole, e.g. conflicts and unreadable records.
    """
    style, script = _asset("page.css"), _asset("page.js")
    position = {id(entry): index for index, entry in enumerate(entries)}
    parts = [(one.model, one.model, _scores(one, lambda entry: position[id(entry)])) for one in tables]
    parts += [(one.title, one.model, one.html()) for one in extra]
    if pictures:
        parts.append(("Figures", "", _figures(pictures)))
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">',
            f"<style>{style}</style></head><body>",
            f"<header><h1>{escape(title)}</h1>{_remarks(remarks)}{_filters(tables)}{_contents(parts)}</header>",
            "<main>",
            *(_section(number, *part) for number, part in enumerate(parts)),
            "</main>",
            '<dialog id="runs" aria-labelledby="runs-title"></dialog>',
            f'<script type="application/json" id="data">{_data(page_data(entries))}</script>',
            f"<script>{script}</script></body></html>\n",
        ]
    )


def _section(number: int, heading: str, model: str, content: str) -> str:
    of_model = f' data-model="{escape(model)}"' if model else ""
    return f'<section id="s{number}"{of_model}><h2>{escape(heading)}</h2>{content}</section>'


def _contents(parts: Sequence[tuple[str, str, str]]) -> str:
    """Links to the sections, where there are more than a window shows."""
    links = "".join(
        f'<a href="#s{number}">{escape(heading)}</a>' for number, (heading, _, _) in enumerate(parts)
    )
    return f'<nav aria-label="Sections">{links}</nav>' if len(parts) > 2 else ""


def _scores(table_: Table, number: Any) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in table_.footnotes)
    parts = [
        _scroll(
            table(grid_of(table_), f"{table_.title}: {table_.model}", number), f"scores of {table_.model}"
        ),
        f"<details open><summary>Notes</summary><ul>{notes}</ul></details>",
    ]
    if table_.unfilled:
        gaps = "".join(
            f"<li>{escape(gap.what)}<pre>{escape(gap.command)}</pre></li>" for gap in table_.unfilled
        )
        parts.append(
            f"<details><summary>Not completed: {len(table_.unfilled)}</summary><ul>{gaps}</ul></details>"
        )
    elsewhere = elsewhere_grid(table_)
    if elsewhere:
        content = _scroll(table(elsewhere, ELSEWHERE), "published values")
        parts.append(f"<details><summary>Published on other backbones</summary>{content}</details>")
    return "".join(parts)


def _scroll(content: str, label: str) -> str:
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{content}</div>'


def _filters(tables: Sequence[Table]) -> str:
    """Check boxes for models, tasks and methods, where there is a choice."""
    tasks = {column.task: column.title for one in tables for column in one.columns if not column.is_average}
    methods = {row.method: row.method for one in tables for row in one.rows}
    models = {one.model: one.model for one in tables}
    groups = (("model", "Models", models), ("task", "Tasks", tasks), ("method", "Methods", methods))
    fields = "".join(_choices(*group) for group in groups if len(group[2]) > 1)
    return f'<form id="filters" hidden>{fields}</form>' if fields else ""


def _choices(kind: str, legend: str, names: dict[str, str]) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" name="{kind}" value="{escape(name)}" checked>{escape(title)}</label>'
        for name, title in names.items()
    )
    switch = f'<button type="button" class="switch" data-switch="{kind}">all / none</button>'
    return f"<fieldset><legend>{legend}</legend>{boxes}{switch}</fieldset>"


def _remarks(remarks: Sequence[str]) -> str:
    lines = "".join(f"<li>{escape(remark)}</li>" for remark in remarks)
    return f'<ul class="remarks">{lines}</ul>' if lines else ""


def _figures(pictures: Sequence[Picture]) -> str:
    return "".join(
        f'<figure><img src="data:image/svg+xml;base64,{base64.b64encode(p.svg).decode()}" alt="{escape(p.alt)}">'
        f"<figcaption>{escape(p.caption)}</figcaption></figure>"
        for p in pictures
    )


def _data(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(style: str, script: str) -> str:
    """Only this very style and script, only inlined images, no connection to anywhere."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
