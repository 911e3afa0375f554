"""Entity-level scores of tag sequences, as Perl conlleval 2004-01-26 counts entities.

seqeval's default mode reads the entities: an `I-` that continues nothing starts one, so malformed sequences count as
conlleval counts them. A prediction is correct where type, first and last token agree.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from autolora_bench.errors import UserError
from autolora_bench.metrics.scores import MetricScores

Sentences = Sequence[Sequence[str]]
TAGGING_METRICS = ("precision", "recall", "f1")
TAG = re.compile(r"O|[BIES](-\S+)?")
"""What a tag is; a chunk may also have an end, and be single."""


@dataclass(frozen=True)
class EntityCounts:
    """Entities of one type, or of all: in the labels, in the predictions, in both."""

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """Correct over predicted; 0 where nothing is predicted."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Correct over gold; 0 where there is nothing to find."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where both sides hold no entity."""
        total = self.gold + self.predicted
        return 2 * self.correct / total if total else 0.0


def count_entities(predictions: Sentences, labels: Sentences) -> dict[str, EntityCounts]:
    """Counts by entity type, in alphabetical order of the types.

    Args:
        predictions: for each sentence its predicted tags (`O`, `B-type`, `I-type`).
        labels: for each sentence its true tags.

    Raises:
        UserError: another number of sentences, or of tags in one sentence.
    """
    from seqeval.metrics.sequence_labeling import get_entities

    _check_lengths(predictions, labels)
    found = set(get_entities([list(sentence) for sentence in predictions]))
    true = set(get_entities([list(sentence) for sentence in labels]))
    gold, predicted, correct = (Counter(entity[0] for entity in side) for side in (true, found, true & found))
    return {
        kind: EntityCounts(gold[kind], predicted[kind], correct[kind]) for kind in sorted(gold | predicted)
    }


def total(counts: dict[str, EntityCounts]) -> EntityCounts:
    """Counts over all types: what the micro average is computed from."""
    return EntityCounts(
        sum(count.gold for count in counts.values()),
        sum(count.predicted for count in counts.values()),
        sum(count.correct for count in counts.values()),
    )


def scores_from_counts(counts: dict[str, EntityCounts]) -> MetricScores:
    """`precision`, `recall`, `f1` micro-averaged over all entities, then `precision/type` and so on for each type."""
    scores = MetricScores()
    for suffix, count in {"": total(counts), **{f"/{kind}": count for kind, count in counts.items()}}.items():
        scores.values[f"precision{suffix}"] = count.precision
        scores.values[f"recall{suffix}"] = count.recall
        scores.values[f"f1{suffix}"] = count.f1
    return scores


def score_tagging(predictions: Sentences, labels: Sentences) -> MetricScores:
    """Entity-level scores; see `count_entities` for the arguments and `scores_from_counts` for the names."""
    return scores_from_counts(count_entities(predictions, labels))


def _check_lengths(predictions: Sentences, labels: Sentences) -> None:
    if len(predictions) != len(labels):
        raise UserError(
            f"{len(predictions)} predicted sentences for {len(labels)} labelled ones",
            "give one sequence of tags for each sentence",
        )
    for number, (predicted, gold) in enumerate(zip(predictions, labels, strict=True), start=1):
        if len(predicted) != len(gold):
            raise UserError(
                f"sentence {number}: {len(predicted)} predicted tags for {len(gold)} labels",
                "give one tag for each labelled word (its first sub-word's)",
            )
