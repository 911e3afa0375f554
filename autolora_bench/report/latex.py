"""Tables as LaTeX with booktabs; escapes everything, so that any record compiles."""

import unicodedata
from collections.abc import Sequence
from itertools import groupby

from autolora_bench.report.grid import Grid, Line, Text, elsewhere_grid, grid_of
from autolora_bench.report.markdown import ELSEWHERE
from autolora_bench.report.scoreboard import Table

PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[a4paper,landscape,margin=1.5cm]{geometry}
\usepackage{booktabs,graphicx,textcomp}
\begin{document}
"""
DAGGER = r"$^\dagger$"
END = "\\end{document}\n"

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "-": "-{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{DAGGER}": r"$\dagger$",
    "\N{MINUS SIGN}": r"$-$", "\N{EN DASH}": "--", "\N{EM DASH}": "---", "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{GREEK CAPITAL LETTER DELTA}": r"$\Delta$", "[": "{[}", "]": "{]}",
}  # fmt: skip


def latex(
    tables: Sequence[Table],
    remarks: Sequence[str] = (),
    further: Sequence[str] = (),
    *,
    standalone: bool = True,
) -> str:
    """Remarks, tables, further ones; with a minimal preamble unless `standalone` is False, for \\input in a paper."""
    body = "\n".join([*map(_note, remarks), *map(_table, tables), *further]) + "\n"
    return f"{PREAMBLE}{body}{END}" if standalone else body


def _table(table: Table) -> str:
    parts = [
        r"\begin{table}[ht]",
        r"\centering\small",
        rf"\caption{{{escape(table.title)}: {escape(table.model)}}}",
        _grid(grid_of(table)),
    ]
    elsewhere = elsewhere_grid(table)
    if elsewhere:
        parts += [
            r"\par\medskip",
            rf"{{\footnotesize {escape(ELSEWHERE)}}}",
            r"\par\smallskip",
            _grid(elsewhere),
        ]
    parts += [r"\end{table}", *[_note(note) for note in table.footnotes]]
    parts += [_note(gap.what) + "\n" + _command(gap.command) for gap in table.unfilled]
    return "\n".join([*parts, r"\clearpage"])


def _grid(grid: Grid) -> str:
    count = len(grid.headings)
    rows = [rf"{_line(line)} \\" for line in grid.lines]
    return "\n".join(
        [
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l*{{{count - 1}}}{{r}}}}",
            r"\toprule",
            rf"{_tops(grid)} \\",
            rf"{' & '.join(escape(h.bottom) for h in grid.headings)} \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
        ]
    )


def _tops(grid: Grid) -> str:
    """First heading line; neighbours of one task share a field."""
    cells = []
    for top, group in groupby(grid.headings, key=lambda heading: heading.top):
        width = len(list(group))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(top)}}}" if width > 1 else escape(top))
    return " & ".join(cells)


def _line(line: Line) -> str:
    cells = [_text(text) for text in line.texts]
    return " & ".join(rf"\textit{{{cell}}}" if line.published and cell else cell for cell in cells)


def _text(text: Text) -> str:
    value = r" $\pm$ ".join(filter(None, [escape(text.value), escape(text.spread)]))
    value = rf"\textbf{{{value}}}" if text.bold else value
    note = f" ({escape(text.note)})" if text.note else ""
    return value + (DAGGER if text.dagger else "") + note


def _note(note: str) -> str:
    return rf"\par\noindent{{\footnotesize {escape(note)}\par}}"


def _command(command: str) -> str:
    return rf"\par\noindent{{\footnotesize\raggedright\texttt{{{escape(command)}}}\par}}"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line; letters outside Latin become their base letter or `?`."""
    return "".join(SPECIAL.get(char) or _letter(char) for char in " ".join(text.split()))


def _letter(char: str) -> str:
    if char.isascii():
        return char if char.isprintable() else "?"
    if "\N{INVERTED EXCLAMATION MARK}" < char <= "\N{LATIN SMALL LETTER Z WITH CARON}" and char.isalpha():
        return char
    base = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return "".join(SPECIAL.get(part, part) for part in base if part.isprintable()) or "?"
