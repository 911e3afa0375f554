"""Tokens and n-gram counts as the E2E scorer's two implementations of mteval-v13a take them.

tuetschek/e2e-metrics@1b9c4d8 holds `metrics/pymteval.py` (`measure_scores.py -p`) and `mteval/mteval-v13a-sig.pl`.
They agree except on very short outputs, on letters beyond ASCII, and in NIST's length term.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from typing import Any

Ngram = tuple[str, ...]


class MtevalMode(StrEnum):
    """Whose number to give.

    CLEAN: an empty output has no token and an output shorter than n no n-gram; NIST's length term as in PYMTEVAL.
    PYMTEVAL: `-p`, exactly: an empty output is one empty token, and totals of n-grams go below zero.
    PERL: the Perl script, exactly: BLEU smoothed, only ASCII lower-cased, its own length term in NIST.
    """

    CLEAN = "clean"
    PYMTEVAL = "pymteval"
    PERL = "perl"


_ASCII_LOWER = str.maketrans({chr(code): chr(code + 32) for code in range(ord("A"), ord("Z") + 1)})


@cache
def _tokenizer_13a() -> Any:
    from sacrebleu.tokenizers import tokenizer_13a

    return tokenizer_13a.Tokenizer13a()  # type: ignore[no-untyped-call]


def tokenize(text: str, mode: MtevalMode) -> list[str]:
    """Lower-cased mteval-13a tokens of one text."""
    if mode is MtevalMode.CLEAN:
        return str(_tokenizer_13a()(text.lower())).split()
    tokens = str(_tokenizer_13a()(text))
    if mode is MtevalMode.PERL:
        return tokens.translate(_ASCII_LOWER).split()
    return [token.lower() for token in tokens.split(" ")]


def tokenize_references(texts: Iterable[str], mode: MtevalMode) -> list[list[str]]:
    """Tokens of a segment's references; those without a token are dropped, except by `-p`."""
    tokenized = [tokenize(text, mode) for text in texts]
    return tokenized if mode is MtevalMode.PYMTEVAL else [tokens for tokens in tokenized if tokens]


def ngrams(tokens: Sequence[str], order: int) -> Counter[Ngram]:
    """Counts of one order's n-grams."""
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def matches(hypothesis: Sequence[str], references: Iterable[Sequence[str]], order: int) -> Counter[Ngram]:
    """The hypothesis's n-grams, each clipped by its largest count in one reference."""
    allowed: Counter[Ngram] = Counter()
    for reference in references:
        allowed |= ngrams(reference, order)
    return ngrams(hypothesis, order) & allowed


def ngram_total(tokens: Sequence[str], order: int, mode: MtevalMode) -> int:
    """How many n-grams of this order the scorer says the tokens hold."""
    count = len(tokens) - order + 1
    return count if mode is MtevalMode.PYMTEVAL else max(count, 0)
