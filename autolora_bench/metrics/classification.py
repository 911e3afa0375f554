"""GLUE's scores: classes and regression, every example counted once.

Follows huggingface/evaluate@a7dd338 metrics/glue/glue.py. Predictions and labels are sequences of one length N;
classes are integers or names, regression values floats that are neither clipped nor rounded.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from autolora_bench.errors import UserError, require
from autolora_bench.metrics.registry import lookup
from autolora_bench.metrics.scores import MetricScores, MetricUnavailableError, collect

Values = Sequence[Any]
POSITIVE = 1


def accuracy(predictions: Values, labels: Values) -> float:
    """Fraction of predictions that equal their label."""
    return float(sum(p == y for p, y in zip(predictions, labels, strict=True)) / len(labels))


def f1(predictions: Values, labels: Values) -> float:
    """F1 of the positive class (label 1); 0 where neither side holds it."""
    return _f1_of(POSITIVE, predictions, labels)


def macro_f1(predictions: Values, labels: Values) -> float:
    """Unweighted mean of the F1 of every class that labels or predictions hold; no class is the positive one."""
    classes = {*predictions, *labels}
    return math.fsum(_f1_of(one, predictions, labels) for one in classes) / len(classes)


def _f1_of(positive: Any, predictions: Values, labels: Values) -> float:
    """By counting: scikit-learn's function, which gives the same, takes half a second to import."""
    found, true = sum(p == positive for p in predictions), sum(y == positive for y in labels)
    both = sum(p == y == positive for p, y in zip(predictions, labels, strict=True))
    return 2 * both / (found + true) if found + true else 0.0


def matthews_correlation(predictions: Values, labels: Values) -> float:
    """Matthews correlation, also for more than two classes; 0 where either side is constant."""
    from sklearn.metrics import matthews_corrcoef

    if len(set(predictions)) < 2 or len(set(labels)) < 2:
        return 0.0
    return float(matthews_corrcoef(labels, predictions))


def pearson(predictions: Values, labels: Values) -> float:
    """Pearson correlation; NaN where either side is constant or N < 2. Raises as `_correlation`."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, predictions, labels)


def spearman(predictions: Values, labels: Values) -> float:
    """Spearman rank correlation, ties by mean rank; NaN where either side is constant or N < 2. Raises as
    `_correlation`."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, predictions, labels)


def _correlation(function: Callable[..., Any], predictions: Values, labels: Values) -> float:
    """Raises MetricUnavailableError where a value that is not finite leaves it undefined."""
    found = math.nan
    if len(set(predictions)) >= 2 and len(set(labels)) >= 2:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = float(function(predictions, labels)[0])
    if not math.isnan(found):
        return found
    odd = [x for x in (*predictions, *labels) if x != x or x in (math.inf, -math.inf)]
    if odd:
        raise MetricUnavailableError(f"undefined (NaN): {odd[0]} is among the predictions or labels")
    return math.nan


FUNCTIONS: Mapping[str, Callable[[Values, Values], float]] = MappingProxyType(
    {
        "accuracy": accuracy,
        "f1": f1,
        "macro_f1": macro_f1,
        "matthews_correlation": matthews_correlation,
        "pearson": pearson,
        "spearman": spearman,
    }
)


CORRELATIONS = ("pearson", "spearman")
"""Metrics of values; the others are of classes."""
BINARY = "f1"
"""The metric of two classes; the others of classes are defined for any number."""


def metrics_of_classes(count: int) -> tuple[str, ...]:
    """Metrics that are defined for so many classes."""
    return tuple(name for name in FUNCTIONS if name not in CORRELATIONS and (count == 2 or name != BINARY))


def score_classification(predictions: Values, labels: Values, metrics: Sequence[str]) -> MetricScores:
    """Scores of one set of predictions.

    Args:
        predictions: N predicted classes or values.
        labels: N true ones, of the same type.
        metrics: names out of `FUNCTIONS`.

    Raises:
        UserError: different lengths, no example, a metric that is not one of these, F1 of other classes than 0 and 1.
    """
    check_pairs(predictions, labels)
    require_examples(len(labels) > 0)
    for name in metrics:
        if lookup(name).name not in FUNCTIONS:
            raise UserError(
                f"{name} is no metric of classes or values", f"choose from {', '.join(FUNCTIONS)}"
            )
    others = [value for value in (*predictions, *labels) if value not in (0, POSITIVE)]
    if others and BINARY in metrics:
        raise UserError(
            f"{BINARY} needs the classes 0 and {POSITIVE}, there is {others[0]!r} too",
            f"write {POSITIVE} for the positive class, 0 for the other; of more classes than two it is not defined",
        )
    return collect({name: _bind(FUNCTIONS[name], predictions, labels) for name in metrics})


def check_pairs(predictions: Sequence[Any], labels: Sequence[Any]) -> None:
    """Raises UserError where there are more of one than of the other."""
    require(
        len(predictions) == len(labels),
        f"{len(predictions)} predictions for {len(labels)} labels",
        "give one prediction for each label",
    )


def require_examples(any_are_there: bool) -> None:
    """Raises UserError where there is nothing to score."""
    require(
        any_are_there,
        "there is nothing to score: no predictions",
        "give one prediction for each example",
    )


def _bind(
    function: Callable[[Values, Values], float], predictions: Values, labels: Values
) -> Callable[[], float]:
    return lambda: function(predictions, labels)


GLUE_METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cola": ("matthews_correlation",),
        "sst2": ("accuracy",),
        "mrpc": ("accuracy", "f1"),
        "stsb": ("pearson", "spearman"),
        "qqp": ("accuracy", "f1"),
        "mnli": ("accuracy",),
        "mnli_mm": ("accuracy",),
        "qnli": ("accuracy",),
        "rte": ("accuracy",),
    }
)
_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")
GLUE_CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cola": ("unacceptable", "acceptable"),
        "sst2": ("negative", "positive"),
        "mrpc": ("not_equivalent", "equivalent"),
        "qqp": ("not_duplicate", "duplicate"),
        "mnli": _NLI,
        "mnli_mm": _NLI,
        "qnli": _ENTAILMENT,
        "rte": _ENTAILMENT,
    }
)
"""Names of a task's classes in the order of their numbers; where F1 is scored the second is the positive one."""
