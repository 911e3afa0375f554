"""Tables as GitHub-flavoured markdown."""

import re
from collections.abc import Sequence

from autolora_bench.report.grid import Grid, Line, Text, elsewhere_grid, grid_of
from autolora_bench.report.scoreboard import Table

ELSEWHERE = "Published on other backbones, for orientation: not comparable with the scores above."


def markdown(tables: Sequence[Table], remarks: Sequence[str] = (), further: Sequence[str] = ()) -> str:
    """Remarks on the whole, tables with their footnotes and the commands that fill their gaps, and further ones."""
    said = ["\n".join(f"- {escape(remark)}" for remark in remarks)] if remarks else []
    parts = [*said, *map(_table, tables), *(text.rstrip("\n") for text in further)]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    parts = [f"## {escape(table.title)}: {escape(table.model)}", _grid(grid_of(table))]
    parts.append("\n".join(f"- {escape(note)}" for note in table.footnotes))
    if table.unfilled:
        listed = "\n".join(f"- {escape(gap.what)}\n{_code(gap.command)}" for gap in table.unfilled)
        parts.append(f"Not completed, and what completes it:\n\n{listed}")
    elsewhere = elsewhere_grid(table)
    if elsewhere:
        parts += [ELSEWHERE, _grid(elsewhere)]
    return "\n\n".join(parts)


def _grid(grid: Grid) -> str:
    head = [" ".join(filter(None, [escape(h.top), escape(h.bottom)])) for h in grid.headings]
    rule = [":---", *["---:"] * (len(head) - 1)]
    return "\n".join(_pipes(cells) for cells in [head, rule, *[_line(line) for line in grid.lines]])


def _line(line: Line) -> list[str]:
    cells = [_text(text) for text in line.texts]
    return [f"*{cell}*" if line.published and cell else cell for cell in cells]


def _text(text: Text) -> str:
    value = " ± ".join(filter(None, [escape(text.value), text.spread]))
    value = f"**{value}**" if text.bold else value
    note = f" ({escape(text.note)})" if text.note else ""
    return f"{value}{'†' if text.dagger else ''}{note}"


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(command: str) -> str:
    """A fenced block inside a list item, with a fence that no run of backticks in the command can close."""
    longest = max((len(run) for run in re.findall(r"`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    lines = "\n".join(f"  {line}" for line in command.splitlines() or [""])
    return f"  {fence}\n{lines}\n  {fence}"


SPECIAL = re.compile(
    r"""([|*`] | \\(?=[!-/:-@\[-`{-~]|$)  # a backslash counts before punctuation and at the end of a line
    | <(?=[A-Za-z/!?]) | &(?=\#?\w+;)  # a tag, an entity
    | \](?=[\[(:]) | ^\[(?=[ xX]\]) | ^>  # a link, a box to tick, a quotation
    | (?<!\w)_ | _(?!\w))""",
    re.VERBOSE,
)
"""What markdown would not show as it is; everything else stays readable in a terminal."""


def escape(text: str) -> str:
    """Text that markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
