"""Rules that replaced others after runs had been recorded, and of which the settings say nothing.

A mended rule gives the same settings other numbers. For the old and the new runs not to share a `config_id`, the names
of the corrections that apply are written into `method.corrections` before the configuration is hashed. A record without
a name that would apply to it was made by the earlier rule: `earlier_rules` says which, for a reader of its scores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autolora_bench.config.experiment import ExperimentConfig, experiment_identity
from autolora_bench.errors import UserError


@dataclass(frozen=True)
class Correction:
    """One rule that was mended."""

    name: str
    applies: Callable[[Mapping[str, Any]], bool]
    """Whether it changes the numbers of a run with this identity, as `RunRecord.config` has it."""
    earlier: str
    """What runs did without it, as a clause."""


def _method(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = config.get("method")
    return found if isinstance(found, Mapping) else {}


CORRECTIONS = (
    Correction(
        "own_draw",
        lambda config: _method(config).get("allocation") in ("random", "shuffled"),
        "ranks were drawn by the seed alone, so that all tasks shared its draw, and random ones had the total but not "
        "the spread of the ranks that they are compared with",
    ),
)


def note_corrections(experiment: ExperimentConfig) -> None:
    """Fill in `method.corrections`. Raises UserError where others were given."""
    method = experiment.method
    given, method.corrections = method.corrections, []
    config = experiment_identity(experiment)
    method.corrections = [correction.name for correction in CORRECTIONS if correction.applies(config)]
    if given and given != method.corrections:
        raise UserError(
            f"method.corrections={given} is filled in by the program", "leave method.corrections out"
        )


def earlier_rules(config: Mapping[str, Any]) -> list[str]:
    """What a recorded run did by rules that have been mended since, as clauses; empty for a run of today.

    Args:
        config: `RunRecord.config`.
    """
    named = _method(config).get("corrections", [])
    return [c.earlier for c in CORRECTIONS if c.name not in named and c.applies(config)]
