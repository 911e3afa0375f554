"""Every metric by name: which way is better, and the factor papers multiply it by in their tables."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from autolora_bench.config.registry import KINDS
from autolora_bench.errors import UserError, nearest, require
from autolora_bench.metrics.scores import MetricScores, MetricUnavailableError, collect

Score = Callable[[Sequence[Any], Sequence[Any]], float]
"""Predictions and references, one of each per example -> the score."""
ROUNDING = 1e-6
"""So far beyond its bounds a score may lie: a perfect BLEU is 1.0000000000000004."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: canonical name, as task files and records spell it.
        higher_is_better: False for error rates.
        published_scale: factor from the recorded value to the published one (100 for fractions shown as per cent).
        title: what tables call a metric of the user's own; none: its name.
        tasks: the kinds of task that a metric of the user's own is for.
        score: what computes a metric of the user's own (autolora_bench.user_code); none for the project's.
        least, most: bounds of the recorded value; infinite where there is none, as for a metric of the user's own.
    """

    name: str
    higher_is_better: bool = True
    published_scale: float = 100.0
    title: str | None = None
    tasks: tuple[str, ...] = ()
    score: Score | None = None
    least: float = -math.inf
    most: float = math.inf

    def merit(self, value: float) -> float:
        """The value with its sign changed where lower is better: of two merits the greater is the better score."""
        return value if self.higher_is_better else -value

    def holds(self, value: float) -> bool:
        """Whether the metric can have the value, but for rounding of sums."""
        return self.least - ROUNDING <= value <= self.most + ROUNDING

    @property
    def span(self) -> str:
        """Its bounds, in words."""
        return f"{self.least:g} or more" if math.isinf(self.most) else f"from {self.least:g} to {self.most:g}"


_metrics = {
    metric.name: metric
    for metric in (
        Metric("accuracy", least=0.0, most=1.0),
        Metric("f1", least=0.0, most=1.0),
        Metric("macro_f1", least=0.0, most=1.0),
        Metric("matthews_correlation", least=-1.0, most=1.0),
        Metric("pearson", least=-1.0, most=1.0),
        Metric("spearman", least=-1.0, most=1.0),
        Metric("precision", least=0.0, most=1.0),
        Metric("recall", least=0.0, most=1.0),
        Metric("bleu", least=0.0, most=1.0),
        Metric("nist", published_scale=1.0, least=0.0),
        Metric("meteor", least=0.0, most=1.0),
        Metric("rouge_l", least=0.0, most=1.0),
        Metric("rouge_l_google", least=0.0, most=1.0),
        Metric("cider", published_scale=1.0, least=0.0),
        Metric("ter", higher_is_better=False, least=0.0),
        Metric("relative_error", higher_is_better=False, least=0.0),
        Metric("rank_correlation", least=-1.0, most=1.0),
    )
}
METRICS: Mapping[str, Metric] = MappingProxyType(_metrics)


def metric(
    name: str,
    *,
    tasks: Sequence[str],
    higher_is_better: bool = True,
    published_scale: float = 100.0,
    title: str | None = None,
) -> Callable[[Score], Score]:
    """States a metric of the user's own: goes above a function of predictions and references.

    Both are one entry per example: the class's name (classification), a number (regression), a list of tags (tagging),
    or a text and a list of texts (generation). NaN says that the score is undefined.

    Args:
        name: as `task.metrics` names it.
        tasks: kinds of task that it is for: classification, regression, tagging, generation.
        higher_is_better: False for error rates.
        published_scale: factor in tables, 100 for fractions that are shown as per cent.
        title: what tables call it; none: its name.

    Raises:
        UserError: the name is taken or cannot be one, or a kind of task is not known.
    """

    def state(score: Score) -> Score:
        where = inspect.getfile(score)
        require(
            name not in METRICS,
            f"{where} states a metric {name!r}, which there is already",
            "choose another name for it",
        )
        require(
            name.isidentifier(),
            f"{where} states a metric {name!r}, which is no name",
            "use letters, digits and _",
        )
        known = [kind for kind in KINDS.values() if kind != "recovery"]
        require(
            bool(tasks) and not isinstance(tasks, str) and set(tasks) <= set(known),
            f"{where}: metric {name!r} is for tasks={tasks!r}",
            f"give a list out of: {', '.join(known)}",
        )
        _metrics[name] = Metric(name, higher_is_better, published_scale, title, tuple(tasks), score)
        return score

    return state


def forget_metric(name: str) -> None:
    """Take a metric of the user's own out again."""
    del _metrics[name]


def own_metrics(names: Sequence[str]) -> list[str]:
    """Those of the names that are metrics of the user's own."""
    return [name for name in names if name in METRICS and METRICS[name].score is not None]


def own_metrics_of(kind: str) -> tuple[str, ...]:
    """The metrics of the user's own for a kind of task."""
    return tuple(name for name, one in METRICS.items() if kind in one.tasks)


def with_own(
    official: MetricScores, names: Sequence[str], predictions: Sequence[Any], references: Sequence[Any]
) -> MetricScores:
    """Official scores, and those of the metrics of the user's own among `names`.

    Each is given copies: what it sorts or removes is no other's business.

    Raises:
        UserError: a metric of the user's own fails, or gives no finite number.
    """
    found = collect(
        {name: partial(_finite, METRICS[name], predictions, references) for name in own_metrics(names)}
    )
    return MetricScores({**official.values, **found.values}, {**official.missing, **found.missing})


def _finite(metric: Metric, predictions: Sequence[Any], references: Sequence[Any]) -> float:
    assert metric.score is not None
    try:
        value = float(metric.score(*deepcopy((predictions, references))))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the metric {metric.name} failed: {type(error).__name__}: {error}",
            "mend its function, which is given a prediction and a reference for each example and returns a number",
        ) from error
    if math.isnan(value):
        raise MetricUnavailableError("undefined: it gave NaN")
    require(
        not math.isinf(value),
        f"the metric {metric.name} gave {value}",
        "give a finite number, NaN where it is undefined",
    )
    return value


def whole_of(name: str) -> str:
    """The metric over all examples of which this one is over a part: bleu of bleu/unseen, bleu of bleu."""
    return name.partition("/")[0]


def lookup(name: str) -> Metric:
    """The metric of a score's name; `f1/protein` is found as `f1`.

    Raises:
        UserError: no such metric.
    """
    base = whole_of(name)
    if base in METRICS:
        return METRICS[base]
    raise UserError(f"there is no metric {base!r}", f"{nearest(base, METRICS)}metrics: {', '.join(METRICS)}")
