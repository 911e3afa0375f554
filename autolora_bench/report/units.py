"""From recorded values to the unit that papers print, and the words that name a metric."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autolora_bench.metrics.registry import METRICS, Metric, whole_of
from autolora_bench.record import RunRecord

LARGEST_SCALE = 1e6
TITLES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews_correlation": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "bleu": "BLEU",
    "nist": "NIST",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "ter": "TER",
    "relative_error": "relative error",
    "rank_correlation": "rank correlation",
}


def metric_title(name: str) -> str:
    """`bleu/unseen` -> `BLEU unseen`; an unknown metric keeps its name."""
    base, _, subset = name.partition("/")
    if base in METRICS and METRICS[base].title:
        return str(METRICS[base].title)
    return " ".join(filter(None, [TITLES.get(base, base), subset]))


def metric_of(name: str, records: Iterable[RunRecord] = ()) -> Metric:
    """The registry's metric; for one it does not know, the direction and scale that its records state, or scale 1."""
    records = list(records)
    base = whole_of(name)
    if base in METRICS:
        return METRICS[base]
    stated: Mapping[str, bool] = next(
        (r.metrics for r in records if name in r.metrics or base in r.metrics), {}
    )
    higher = stated.get(name, stated.get(base, True))
    scale = next((s for s in _said(base, "published_scale", records) if _is_scale(s)), 1.0)
    title = next((t for t in _said(base, "title", records) if isinstance(t, str)), None)
    return Metric(name, higher_is_better=bool(higher), published_scale=float(scale), title=title)


def _said(name: str, fact: str, records: Iterable[RunRecord]) -> Iterator[Any]:
    """What records say of a metric of their maker's own."""
    for record in records:
        said = record.provenance.get("metrics")
        one = said.get(name) if isinstance(said, dict) else None
        if isinstance(one, dict):
            yield one.get(fact)


def _is_scale(said: Any) -> bool:
    return isinstance(said, int | float) and 0 < said < LARGEST_SCALE


def in_published_unit(metric: Metric, value: float) -> float:
    """A published value in the unit of our tables: some tables print METEOR and TER as fractions, others per cent."""
    as_fraction = metric.published_scale == 100.0 and abs(value) <= 1.0
    return value * 100.0 if as_fraction else value
