import math

from autolora_bench.metrics.scores import MetricUnavailableError, collect


def unavailable() -> float:
    raise MetricUnavailableError("no Java runtime")


def test_a_metric_that_cannot_be_computed_leaves_the_others():
    scores = collect(
        {"bleu": lambda: 0.5, "meteor": unavailable, "pearson": lambda: math.nan, "ter": lambda: 0}
    )
    assert scores.values == {"bleu": 0.5, "ter": 0.0}
    assert scores.missing["meteor"] == "no Java runtime"
    assert "NaN" in scores.missing["pearson"]
