"""`autolora-bench report ...`: tables from the records, as text, or with every format and figure as a folder."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from autolora_bench.commands.chosen_records import find_asked
from autolora_bench.commands.options import COMMANDS, split_json, split_options
from autolora_bench.errors import UserError, listed
from autolora_bench.garbage import uncollected
from autolora_bench.untrusted import printable

SAID = 5
"""So many files of an earlier report are named."""


def run(words: Sequence[str]) -> int:
    """Print the report, or write it to out=DIR."""
    with uncollected():  # a sixth of the time of one with figures
        return _run(words)


def _run(words: Sequence[str]) -> int:
    as_json, words = split_json(words)
    options, rest = split_options(words, COMMANDS["report"].options)
    said = [
        *(f"{name}=" for name in ("examples", "format") if name in options),
        *(["--json"] if as_json else []),
    ]
    if said and "out" in options:
        raise UserError(f"{said[0]} and out= do not go together", "leave one of them out")
    if as_json and options.get("format", "json") != "json":
        raise UserError(f"--json and format={options['format']} do not go together", "leave one of them out")
    if "figures" in options and "out" not in options:
        raise UserError(
            f"figures={options['figures']} without out=, which says where they are written",
            "add out=DIR, or leave it out",
        )
    asked = find_asked(rest)
    from autolora_bench.report.build import left_over, render, write_report
    from autolora_bench.report.prepared import prepare
    from autolora_bench.report.published import own_values

    title = options.get("title", asked.title)
    own = [Path(options["published"]).expanduser()] if "published" in options else []
    compare = re.split(r",(?![^\[]*\])", options["compare"]) if options.get("compare") else None
    records, planned = asked.collection, asked.planned
    layout = options.get("format", "json" if as_json else "markdown")
    if "examples" in options:
        from autolora_bench.report.disagreement import report_examples

        text = report_examples(records, planned, most=options["examples"], format=layout, title=title)
        print(printable(text), end="")
        return 0
    prepared = prepare(
        records,
        planned,
        epoch=options.get("epoch"),
        metrics=options.get("metrics", "paper"),
        title=title,
        published=[*own_values(), *own],
        compare=compare,
    )
    if "out" not in options:
        print(printable(render(prepared, layout)), end="")
        return 0
    folder = Path(options["out"]).expanduser()
    files = write_report(folder, prepared, options.get("figures", "svg").split(","))
    for path in files:
        print(path)
    old = [path.relative_to(folder).as_posix() for path in left_over(folder, files)]
    if old:
        named = listed(old, SAID)
        print(printable(f"{folder} still holds what an earlier report left: {named}"), file=sys.stderr)
        print("remove them, or name another folder with out=", file=sys.stderr)
    return 0
