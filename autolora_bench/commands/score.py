"""`autolora-bench score task=TASK predictions=FILE references=FILE`: official scores of anybody's outputs, as JSON."""

import json
from collections.abc import Sequence

from autolora_bench.errors import UserError
from autolora_bench.request import CONFIG_DIR


def run(words: Sequence[str]) -> int:
    """Print the scores; a metric that cannot be computed here is named with the reason under `missing`."""
    from autolora_bench.scoring.score import score

    print(json.dumps(score(_arguments(words)), indent=1, sort_keys=True, ensure_ascii=False))
    return 0


def _arguments(words: Sequence[str]) -> dict[str, str]:
    arguments: dict[str, str] = {}
    for word in words:
        name, given, value = word.partition("=")
        if name in CONFIG_DIR:
            raise UserError(
                f"score knows no tasks of a folder of your own, so that {name} says nothing to it",
                "say its kind, task=classification metrics=accuracy,macro_f1 or task=tagging, with the labels one a "
                "line in references=; a metric of your own: autolora_bench.load_metric(NAME, config_dir=DIR)",
            )
        if not given:
            raise UserError(
                f"score: {word!r} is not NAME=VALUE", "as in: autolora-bench score task=e2e predictions=FILE"
            )
        if name in arguments:
            raise UserError(f"score: {name}= is given twice", "give it once")
        arguments[name] = value
    return arguments
