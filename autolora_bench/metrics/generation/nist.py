"""NIST (Doddington 2002), n = 1..5, as the E2E scorer computes it.

No package gives this number: the information weights come from ALL references of the corpus, and Lref is a sum over
segments. Checked against tuetschek/e2e-metrics@1b9c4d8, both its Python and its Perl implementation.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from autolora_bench.metrics.generation.mteval import (
    MtevalMode,
    Ngram,
    matches,
    ngram_total,
    ngrams,
    tokenize,
    tokenize_references,
)
from autolora_bench.metrics.scores import References, check_segments

ORDERS = range(1, 6)
BETA = math.log(0.5) / math.log(1.5) ** 2
Tokens = list[str]


def nist(hypotheses: Sequence[str], references: References, mode: MtevalMode = MtevalMode.CLEAN) -> float:
    """Corpus NIST of raw texts: 0 or more, without an upper bound.

    Args:
        hypotheses: N generated texts.
        references: for each its references.
        mode: whose edge cases and length term; the same value in every mode but PERL unless an output has fewer
            than five tokens.

    Raises:
        UserError: see `check_segments`.
    """
    check_segments(hypotheses, references)
    tokenized = [tokenize(text, mode) for text in hypotheses]
    tokenized_references = [tokenize_references(texts, mode) for texts in references]
    counts = _reference_counts(tokenized_references)
    score = math.fsum(_order_score(order, tokenized, tokenized_references, counts, mode) for order in ORDERS)
    reference_length = _reference_length(tokenized_references, mode)
    return score * _length_factor(sum(map(len, tokenized)), reference_length)


def _reference_counts(references: Iterable[Iterable[Tokens]]) -> Counter[Ngram]:
    """Counts of all n-grams of all references; the empty n-gram holds the number of words."""
    counts: Counter[Ngram] = Counter()
    for reference in (reference for candidates in references for reference in candidates):
        counts[()] += len(reference)
        for order in ORDERS:
            counts.update(ngrams(reference, order))
    return counts


def _information(ngram: Ngram, counts: Counter[Ngram], mode: MtevalMode) -> float:
    prefix = ngram[:-1]
    if mode is MtevalMode.PERL and prefix == ("0",):
        prefix = ()  # the string "0" is false in Perl, so the script takes the number of words instead
    return math.log2(counts[prefix] / counts[ngram])


def _order_score(
    order: int,
    hypotheses: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    counts: Counter[Ngram],
    mode: MtevalMode,
) -> float:
    matched: Counter[Ngram] = Counter()
    for hypothesis, candidates in zip(hypotheses, references, strict=True):
        matched.update(matches(hypothesis, candidates, order))
    information = math.fsum(_information(ngram, counts, mode) * count for ngram, count in matched.items())
    total = sum(ngram_total(hypothesis, order, mode) for hypothesis in hypotheses)
    return information / total if total else 0.0


def _reference_length(references: Sequence[Sequence[Tokens]], mode: MtevalMode) -> float:
    lengths = [[len(reference) for reference in candidates] for candidates in references if candidates]
    if mode is MtevalMode.PERL:
        words, candidates = sum(map(sum, lengths)), sum(map(len, lengths))
        return words * len(references) / candidates if candidates else 0.0
    return math.fsum(sum(segment) / len(segment) for segment in lengths)


def _length_factor(hypothesis_length: int, reference_length: float) -> float:
    if not hypothesis_length or not reference_length:
        return 0.0
    ratio = min(1.0, hypothesis_length / reference_length)
    return math.exp(BETA * math.log(ratio) ** 2)
