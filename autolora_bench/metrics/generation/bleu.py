"""Corpus BLEU-4, closest reference length: sacrebleu's, and with the edge cases of the E2E scorer's implementations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING

from autolora_bench.errors import UserError, require
from autolora_bench.metrics.generation.mteval import (
    MtevalMode,
    matches,
    ngram_total,
    tokenize,
    tokenize_references,
)
from autolora_bench.metrics.scores import References, check_segments

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU


def bleu(
    hypotheses: Sequence[str], references: References, *, lowercase: bool = False, tokenizer: str = "13a"
) -> float:
    """Unsmoothed BLEU, 0..1.

    On mteval-13a tokens it equals e2e-metrics' `-p` (lower-cased, no output shorter than four tokens) and Moses's
    multi-bleu-detok.perl (not lower-cased). A blank reference has length 0 and takes part in the choice of the
    closest length, as in multi-bleu-detok.perl.

    Args:
        hypotheses: N generated texts.
        references: for each its references, any number of them.
        lowercase: compare without regard to case.
        tokenizer: one of sacrebleu's; `none` splits at blanks, as multi-bleu.perl.

    Raises:
        UserError: see `check_segments`; a tokenizer that sacrebleu does not have, or that needs what is not installed.
    """
    check_segments(hypotheses, references)
    # Some sacrebleu versions drop the empty string as a reference; a blank keeps it, with no token.
    streams = list(zip_longest(*([text or " " for text in candidates] for candidates in references)))
    return float(_scorer(tokenizer, lowercase).corpus_score(list(hypotheses), streams).score) / 100.0


def _scorer(tokenizer: str, lowercase: bool) -> "BLEU":
    from sacrebleu.metrics.bleu import BLEU

    require(
        tokenizer in BLEU.TOKENIZERS,
        f"tokenizer={tokenizer} is unknown",
        f"choose from {', '.join(BLEU.TOKENIZERS)}",
    )
    try:
        return BLEU(tokenize=tokenizer, lowercase=lowercase, smooth_method="none", force=True)
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            f"tokenizer={tokenizer} cannot be had here: {' '.join(str(error).split())}",
            "install what it needs, or choose another",
        ) from error


ORDERS = range(1, 5)


@dataclass
class _Counts:
    length: int = 0
    reference_length: int = 0
    correct: list[int] = field(default_factory=lambda: [0] * len(ORDERS))
    total: list[int] = field(default_factory=lambda: [0] * len(ORDERS))


def mteval_bleu(
    hypotheses: Sequence[str], references: References, mode: MtevalMode = MtevalMode.CLEAN
) -> float:
    """Lower-cased corpus BLEU of raw texts, 0..1, in the mode asked for.

    Raises:
        UserError: see `check_segments`.
    """
    if mode is MtevalMode.CLEAN:
        return bleu(hypotheses, references, lowercase=True)
    check_segments(hypotheses, references)
    counts = _count(hypotheses, references, mode)
    return _pymteval(counts) if mode is MtevalMode.PYMTEVAL else _perl(counts)


def _count(hypotheses: Sequence[str], references: References, mode: MtevalMode) -> _Counts:
    counts = _Counts()
    for text, texts in zip(hypotheses, references, strict=True):
        hypothesis, candidates = tokenize(text, mode), tokenize_references(texts, mode)
        lengths = [len(candidate) for candidate in candidates] or [0]
        counts.length += len(hypothesis)
        counts.reference_length += min(lengths, key=lambda length: (abs(length - len(hypothesis)), length))
        for index, order in enumerate(ORDERS):
            counts.correct[index] += matches(hypothesis, candidates, order).total()
            counts.total[index] += ngram_total(hypothesis, order, mode)
    return counts


def _pymteval(counts: _Counts) -> float:
    """pymteval.py's BLEUScore: orders without a match or an n-gram count 1e-15 and 1e-9."""
    precisions = (max(c, 1e-15) / max(t, 1e-9) for c, t in zip(counts.correct, counts.total, strict=True))
    penalty = min(0.0, 1.0 - counts.reference_length / (counts.length or 1e-5))
    return math.exp(penalty + math.fsum(map(math.log, precisions)) / len(ORDERS))


def _perl(counts: _Counts) -> float:
    """mteval-v13a's bleu_score: the k-th order without a match counts 1/2^k matches, one without n-grams is skipped."""
    if not counts.length:
        return 0.0
    logarithms, smoothing = [], 1.0
    for correct, total in zip(counts.correct, counts.total, strict=True):
        if not total:
            continue
        if not correct:
            smoothing /= 2
        logarithms.append(math.log((correct or smoothing) / total))
    penalty = min(0.0, 1.0 - counts.reference_length / counts.length)
    return math.exp(penalty + math.fsum(logarithms) / len(ORDERS))
