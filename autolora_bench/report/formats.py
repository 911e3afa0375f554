"""Tables as markdown and LaTeX: first as a grid of short texts, which the page shows too, then in each format."""

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from autolora_bench.report import numerals
from autolora_bench.report.scoreboard import TIMED, Cell, Column, PublishedRow, Row, Table
from autolora_bench.untrusted import csv_cell

MISSING = "--"
ELSEWHERE = "Published on other backbones, for orientation: not comparable with the scores above."
MARKDOWN = re.compile(
    r"""([|*`] | \\(?=[!-/:-@\[-`{-~]|$)  # a backslash counts before punctuation and at the end of a line
    | <(?=[A-Za-z/!?]) | &(?=\#?\w+;)  # a tag, an entity
    | \](?=[\[(:]) | ^\[(?=[ xX]\]) | ^>  # a link, a box to tick, a quotation
    | (?<!\w)_ | _(?!\w))""",
    re.VERBOSE,
)
"""What markdown would not show as it is; everything else stays readable in a terminal."""
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[a4paper,landscape,margin=1.5cm]{geometry}
\usepackage{booktabs,graphicx,textcomp}
\begin{document}
"""
END = "\\end{document}\n"
STAR = re.compile(r"^\*", re.MULTILINE)
"""A star at the beginning of a row, which is no text behind the end of the row before it."""
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
DAGGER = r"$^\dagger$"
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "-": "-{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{DAGGER}": r"$\dagger$",
    "\N{MINUS SIGN}": r"$-$", "\N{EN DASH}": "--", "\N{EM DASH}": "---", "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{GREEK CAPITAL LETTER DELTA}": r"$\Delta$", "[": "{[}", "]": "{]}", "\N{MIDDLE DOT}": r"\textperiodcentered{}",
    **{chr(0x2580 + eighths): rf"\rule{{.5em}}{{{eighths / 8}em}}" for eighths in range(1, 9)},
}  # fmt: skip


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

    def frame(self, escape: Callable[[str], str], write: Callable[[Text, bool], str]) -> pd.DataFrame:
        """The fields as a format writes them."""
        heads = [(escape(heading.top), escape(heading.bottom)) for heading in self.headings]
        lines = [[write(text, line.published) for text in line.texts] for line in self.lines]
        return pd.DataFrame(lines, columns=pd.MultiIndex.from_tuples(heads))


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
    marks = dict.fromkeys(table.marked, "*")
    scores = [Heading(c.title + marks.get(c.task, ""), c.subtitle, c) for c in columns if not c.is_average]
    averages = [Heading("average", column.subtitle, column) for column in columns if column.is_average]
    time = [Heading(TIMED, "s")] if timed else []
    return (Heading("method"), *scores, Heading("parameters", "M"), *time, *averages)


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
        value=column.written(cell.mean),
        spread=column.written(cell.std) if cell.std is not None else "",
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
    spread = _as_published(row.stds[column], column) if column in row.stds else ""
    gap = row.differences.get(column)
    note = f"ours {numerals.difference(gap)}" if gap is not None else ""
    return Text(_as_published(row.values[column], column), spread, note, column=column)


def _as_published(value: float, column: Column) -> str:
    """As our scores, and without digits that were not published where two decimals say it all."""
    return numerals.score(value) if value == round(value, 2) else column.written(value)


@dataclass(frozen=True)
class PlainTable:
    """A table of texts with notes, for costs, stability, movement and comparisons."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    model: str = ""
    """Where it is about one."""
    drawn: bool = False
    """Whether it is a drawing in letters, which a terminal shows in columns of one width."""

    def frame(self, write: Callable[[str], object] = str) -> pd.DataFrame:
        """Headings and fields as a format writes them."""
        lines = [[write(field) for field in row] for row in self.rows]
        return pd.DataFrame(lines, columns=[write(field) for field in self.head])


def plain_json(table: PlainTable) -> dict[str, object]:
    """A table for programs, its fields as texts."""
    return {"title": table.title, "rows": table.frame().to_dict("records"), "notes": table.notes}


def in_format(tables: Sequence[PlainTable], format: str) -> str:
    """All tables in one format: markdown, latex, json, or csv, where a column says which of several a line is of."""
    if format == "json":
        items = [plain_json(table) for table in tables]
        return "[" + ",\n".join(json.dumps(item, indent=1, ensure_ascii=False) for item in items) + "]\n"
    if format == "csv" and len(tables) > 1:
        return _joint_csv(tables)
    return "\n".join(PLAIN[format](table) for table in tables)


def markdown(
    tables: Sequence[Table],
    remarks: Sequence[str] = (),
    further: Sequence[PlainTable] = (),
    first: Sequence[PlainTable] = (),
) -> str:
    """Remarks on the whole, the first tables, score tables with footnotes and commands that fill gaps, further ones."""
    parts = [
        _listed(remarks),
        *(_plain_markdown(one).rstrip("\n") for one in first),
        *map(_markdown, tables),
        *(_plain_markdown(one).rstrip("\n") for one in further),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown(table: Table) -> str:
    parts = [
        f"## {escape(table.title)}: {escape(table.model)}",
        _pipes(grid_of(table).frame(escape, _in_pipes)),
    ]
    parts.append(_listed(table.footnotes))
    if table.unfilled:
        listed = "\n".join(f"- {escape(gap.what)}\n{_code(gap.command)}" for gap in table.unfilled)
        parts.append(f"Not completed, and what completes it:\n\n{listed}")
    elsewhere = elsewhere_grid(table)
    if elsewhere:
        parts += [ELSEWHERE, _pipes(elsewhere.frame(escape, _in_pipes))]
    return "\n\n".join(parts)


def _plain_markdown(table: PlainTable) -> str:
    fields = _columns(table) if table.drawn else _pipes(table.frame(escape))
    parts = [f"## {escape(table.title)}", fields, _listed(table.notes)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _columns(table: PlainTable) -> str:
    """The fields below each other as they are, without headings."""
    fields = [[" ".join(field.split()) for field in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(*fields, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in fields]
    return "\n".join(["```text", *(line.replace("`", "'") for line in lines), "```"])


def _listed(notes: Sequence[str]) -> str:
    return "\n".join(f"- {escape(note)}" for note in notes)


def _pipes(frame: pd.DataFrame) -> str:
    """A GitHub table that is not padded: `DataFrame.to_markdown` makes every line as long as the longest field."""
    head = [" ".join(filter(None, [name] if isinstance(name, str) else name)) for name in frame.columns]
    rule = [":---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *frame.values.tolist()])


def _in_pipes(text: Text, published: bool) -> str:
    value = " ± ".join(filter(None, [escape(text.value), text.spread]))
    value = f"**{value}**" if text.bold else value
    whole = f"{value}{'†' if text.dagger else ''}{f' ({escape(text.note)})' if text.note else ''}"
    return f"*{whole}*" if published and whole else whole


def _code(command: str) -> str:
    """A fenced block inside a list item, with a fence that no run of backticks in the command can close."""
    longest = max((len(run) for run in re.findall(r"`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    lines = "\n".join(f"  {line}" for line in command.splitlines() or [""])
    return f"  {fence}\n{lines}\n  {fence}"


def escape(text: str) -> str:
    """Text that markdown shows as it is, on one line."""
    return MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def latex(
    tables: Sequence[Table],
    remarks: Sequence[str] = (),
    further: Sequence[PlainTable] = (),
    first: Sequence[PlainTable] = (),
) -> str:
    """Remarks, first tables, score tables, further ones with booktabs, everything escaped: any record compiles."""
    before, after = map(_plain_latex, first), map(_plain_latex, further)
    body = "\n".join([*map(_note, remarks), *before, *map(_latex, tables), *after]) + "\n"
    return f"{PREAMBLE}{body}{END}"


def _latex(table: Table) -> str:
    parts = [r"\begin{table}[ht]", r"\centering\small"]
    parts.append(rf"\caption{{{tex(table.title)}: {tex(table.model)}}}")
    parts.append(_tabular(grid_of(table).frame(tex, _in_tex)))
    elsewhere = elsewhere_grid(table)
    if elsewhere:
        parts += [r"\par\medskip", rf"{{\footnotesize {tex(ELSEWHERE)}}}", r"\par\smallskip"]
        parts.append(_tabular(elsewhere.frame(tex, _in_tex)))
    parts += [r"\end{table}", *[_note(note) for note in table.footnotes]]
    parts += [f"{_note(gap.what)}\n{_command(gap.command)}" for gap in table.unfilled]
    return "\n".join([*parts, r"\clearpage"])


def _plain_latex(table: PlainTable) -> str:
    head = [r"\begin{table}[ht]", r"\centering\small", rf"\caption{{{tex(table.title)}}}"]
    parts = [*head, _tabular(table.frame(tex)), r"\end{table}", *map(_note, table.notes)]
    return "\n".join(parts) + "\n"


def _tabular(frame: pd.DataFrame) -> str:
    """Neighbouring headings that are equal share a field."""
    style = frame.style.hide(axis="index")
    columns = f"l*{{{len(frame.columns) - 1}}}{{r}}"
    text = style.to_latex(hrules=True, column_format=columns, multicol_align="c").rstrip()
    return f"{FIT}\n{STAR.sub('{*}', text)}}}"


def _in_tex(text: Text, published: bool) -> str:
    value = r" $\pm$ ".join(filter(None, [tex(text.value), tex(text.spread)]))
    value = rf"\textbf{{{value}}}" if text.bold else value
    whole = value + (DAGGER if text.dagger else "") + (f" ({tex(text.note)})" if text.note else "")
    return rf"\textit{{{whole}}}" if published and whole else whole


def _note(note: str) -> str:
    return rf"\par\noindent{{\footnotesize {tex(note)}\par}}"


def _command(command: str) -> str:
    return rf"\par\noindent{{\footnotesize\raggedright\texttt{{{tex(command)}}}\par}}"


def tex(text: str) -> str:
    """Text that LaTeX prints as it is, on one line; letters outside Latin become their base letter or `?`."""
    return "".join(LATEX.get(char) or _letter(char) for char in " ".join(text.split()))


def _letter(char: str) -> str:
    if char.isascii():
        return char if char.isprintable() else "?"
    if "\N{INVERTED EXCLAMATION MARK}" < char <= "\N{LATIN SMALL LETTER Z WITH CARON}" and char.isalpha():
        return char
    base = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return "".join(LATEX.get(part, part) for part in base if part.isprintable()) or "?"


def _plain_csv(table: PlainTable) -> str:
    return str(table.frame(csv_cell).to_csv(index=False, lineterminator="\n"))


def _joint_csv(tables: Sequence[PlainTable]) -> str:
    """All headings of all tables over the lines of each, behind its title."""
    frames = [table.frame(csv_cell) for table in tables]
    for frame, table in zip(frames, tables, strict=True):
        frame.insert(0, "table", csv_cell(table.title))
    return str(pd.concat(frames, ignore_index=True).to_csv(index=False, lineterminator="\n"))


PLAIN: dict[str, Callable[[PlainTable], str]] = {
    "markdown": _plain_markdown,
    "csv": _plain_csv,
    "latex": _plain_latex,
}
