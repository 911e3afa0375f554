"""What scoring gives: values, and reasons for those that could not be computed; what every corpus metric refuses."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autolora_bench.errors import UserError


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


References = Sequence[Sequence[str]]


def check_segments(hypotheses: Sequence[str], references: References, *, tokenised: bool = False) -> None:
    """Refuse a corpus without segments, of two lengths, or with a segment that has no reference.

    Args:
        hypotheses: N outputs.
        references: for each its references.
        tokenised: a reference may be empty, for tokenizers drop punctuation, which was all that it had.

    Raises:
        UserError: naming both lengths, or the first segment (counted from 1) without a reference.
    """
    if len(hypotheses) != len(references):
        raise UserError(
            f"{len(hypotheses)} outputs for {len(references)} sets of references",
            "give one output for each segment, an empty one where nothing was generated",
        )
    if not hypotheses:
        raise UserError("there is nothing to score: no outputs", "give one output for each segment")
    for number, candidates in enumerate(references, start=1):
        if not (candidates if tokenised else any(reference.strip() for reference in candidates)):
            raise UserError(f"segment {number} has no reference", "give every segment one reference or more")


def as_texts(predictions: Iterable[Any], references: Iterable[Any]) -> tuple[list[str], list[list[str]]]:
    """Outputs and their references from what a user gave for them: a lone reference becomes a list of one.

    Raises:
        UserError: something is no text (None, NaN, a list of tokens), naming its example, counted from 1.
    """
    outputs = list(predictions)
    for number, output in enumerate(outputs, start=1):
        if not isinstance(output, str):
            raise UserError(
                f"example {number}: its prediction is of type {type(output).__name__}, not a text",
                "give one text for each example, tokens joined by blanks; an empty one where nothing was generated",
            )
    return outputs, [_candidates(number, given) for number, given in enumerate(references, start=1)]


def _candidates(number: int, given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    grouped = isinstance(given, Iterable) and not isinstance(given, Mapping | bytes)
    texts = list(given) if grouped else [given]
    for text in texts:
        if not isinstance(text, str):
            raise UserError(
                f"example {number}: a reference is of type {type(text).__name__}, not a text",
                "give each example a text or a list of texts, tokens joined by blanks; no None to fill up a short list",
            )
    return texts
