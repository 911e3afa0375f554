"""What scoring gives: values, and reasons for the values that could not be computed."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


class MetricUnavailableError(Exception):
    """A metric cannot be computed here (no Java runtime, a scorer that died); the message says why.

    It concerns one metric, not the run: `collect` turns it into an entry of `MetricScores.missing`.
    """


@dataclass(frozen=True)
class MetricScores:
    """Scores by name; `metric/subset` names the score of a subset (`f1/protein`, `bleu/unseen`).

    Attributes:
        values: finite scores, in the units of `registry.METRICS`.
        missing: for each metric without a value, one line that says why.
    """

    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


UNDEFINED = "undefined (NaN): a correlation needs two or more examples and neither side constant"


def collect(computations: Mapping[str, Callable[[], float]]) -> MetricScores:
    """Run each computation; a NaN or a `MetricUnavailableError` becomes a missing metric, the others go on."""
    scores = MetricScores()
    for name, compute in computations.items():
        try:
            value = float(compute())
        except MetricUnavailableError as unavailable:
            scores.missing[name] = str(unavailable)
            continue
        if math.isnan(value):
            scores.missing[name] = UNDEFINED
        else:
            scores.values[name] = value
    return scores
