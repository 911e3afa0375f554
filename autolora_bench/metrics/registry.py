"""Every metric by name: which way is better, and the factor papers multiply it by in their tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from autolora_bench.errors import UserError


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: canonical name, as task files and records spell it.
        higher_is_better: False for error rates.
        published_scale: factor from the recorded value to the published one (100 for fractions shown as per cent).
    """

    name: str
    higher_is_better: bool = True
    published_scale: float = 100.0

    def merit(self, value: float) -> float:
        """The value with its sign changed where lower is better: of two merits the greater is the better score."""
        return value if self.higher_is_better else -value


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("accuracy"),
            Metric("f1"),
            Metric("macro_f1"),
            Metric("matthews_correlation"),
            Metric("pearson"),
            Metric("spearman"),
            Metric("precision"),
            Metric("recall"),
            Metric("bleu"),
            Metric("nist", published_scale=1.0),
            Metric("meteor"),
            Metric("rouge_l"),
            Metric("rouge_l_google"),
            Metric("cider", published_scale=1.0),
            Metric("ter", higher_is_better=False),
            Metric("relative_error", higher_is_better=False),
            Metric("rank_correlation"),
        )
    }
)


def lookup(name: str) -> Metric:
    """The metric of a score's name; `f1/protein` is found as `f1`.

    Raises:
        UserError: no such metric.
    """
    base = name.split("/", 1)[0]
    if base in METRICS:
        return METRICS[base]
    close = get_close_matches(base, METRICS, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UserError(f"there is no metric {base!r}", f"{hint}metrics: {', '.join(METRICS)}")
