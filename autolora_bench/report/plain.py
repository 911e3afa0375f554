"""Tables of plain text with notes, for costs, stability and comparisons, in every format."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from autolora_bench.report import latex, markdown
from autolora_bench.report.markup import escape
from autolora_bench.untrusted import csv_cell


@dataclass(frozen=True)
class PlainTable:
    """Headings, rows of the same length, and notes below."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    model: str = ""
    """Where it is about one."""

    def markdown(self) -> str:
        """GitHub-flavoured markdown."""
        lines = [self.head, (":---", *["---:"] * (len(self.head) - 1))]
        grid = [f"| {' | '.join(map(markdown.escape, self.head))} |", f"| {' | '.join(lines[1])} |"]
        grid += [f"| {' | '.join(map(markdown.escape, row))} |" for row in self.rows]
        notes = [f"- {markdown.escape(note)}" for note in self.notes]
        return (
            "\n\n".join(
                filter(None, [f"## {markdown.escape(self.title)}", "\n".join(grid), "\n".join(notes)])
            )
            + "\n"
        )

    def csv(self) -> str:
        """The rows alone, with a heading line."""
        text = io.StringIO()
        rows = [map(csv_cell, row) for row in (self.head, *self.rows)]
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()

    def json(self) -> str:
        """A list of objects, heading -> text."""
        rows = [dict(zip(self.head, row, strict=True)) for row in self.rows]
        return (
            json.dumps({"title": self.title, "rows": rows, "notes": self.notes}, indent=1, ensure_ascii=False)
            + "\n"
        )

    def html(self) -> str:
        """A table and a list of notes, without a heading."""
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in self.head)
        body = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
            for row in self.rows
        )
        caption = f"<caption>{escape(self.title)}</caption>"
        table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        scroll = (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(self.title)}">{table}</div>'
        )
        return scroll + (f"<details open><summary>Notes</summary><ul>{notes}</ul></details>" if notes else "")

    def latex(self) -> str:
        """A booktabs table with its notes, without a preamble."""
        rows = [" & ".join(map(latex.escape, row)) + r" \\" for row in self.rows]
        grid = [
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l*{{{len(self.head) - 1}}}{{r}}}}",
            r"\toprule",
            " & ".join(map(latex.escape, self.head)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
        ]
        notes = [rf"\par\noindent{{\footnotesize {latex.escape(note)}\par}}" for note in self.notes]
        caption = rf"\caption{{{latex.escape(self.title)}}}"
        return (
            "\n".join([r"\begin{table}[ht]", r"\centering\small", caption, *grid, r"\end{table}", *notes])
            + "\n"
        )


def in_format(tables: Sequence[PlainTable], format: str) -> str:
    """All tables in one format: markdown, csv (a blank line between tables), json, html or latex."""
    texts = [getattr(table, format)() for table in tables]
    if format == "json":
        return "[" + ",\n".join(text.rstrip("\n") for text in texts) + "]\n"
    return "\n".join(texts)
