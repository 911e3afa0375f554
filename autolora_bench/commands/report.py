"""`autolora-bench report ...`: tables from the records, as text, or with every format and figure as a folder."""

from collections.abc import Sequence
from pathlib import Path

from autolora_bench.commands.records import find_asked
from autolora_bench.commands.request import split_options

OPTIONS = ("format", "epoch", "metrics", "title", "out", "published")


def run(words: Sequence[str]) -> int:
    """Print the report, or write it to out=DIR."""
    options, rest = split_options(words, OPTIONS)
    asked = find_asked(rest)
    from autolora_bench.report.command import report
    from autolora_bench.report.folder import write_report

    out, published = options.pop("out", None), options.pop("published", None)
    source = Path(published).expanduser() if published else None
    options.setdefault("title", asked.title)
    if out is None:
        print(report(asked.collection, asked.planned, published=source, **options), end="")
        return 0
    options.pop("format", None)
    folder = Path(out).expanduser()
    for path in write_report(folder, asked.collection, asked.planned, published=source, **options):
        print(path)
    return 0
