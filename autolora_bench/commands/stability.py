"""`autolora-bench stability ...`: are the selection variables and the ranks the same over seeds?"""

from collections.abc import Sequence

from autolora_bench.commands.chosen_records import find_asked
from autolora_bench.commands.options import COMMANDS, split_json, split_options
from autolora_bench.untrusted import printable


def run(words: Sequence[str]) -> int:
    """Print correlations, agreement against chance and budgets of every searched cell."""
    as_json, words = split_json(words)
    options, rest = split_options(words, COMMANDS["stability"].options)
    asked = find_asked(rest)
    from autolora_bench.report.build import report_stability

    options.setdefault("title", asked.title)
    options.setdefault("format", "json" if as_json else "markdown")
    print(printable(report_stability(asked.collection, asked.planned, **options)), end="")
    return 0
