"""Corpus BLEU-4 with the closest reference length, from raw texts, as a fraction."""

from collections.abc import Sequence
from itertools import zip_longest

from autolora_bench.metrics.generation.segments import References, check_segments


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
        UserError: see `check_segments`.
    """
    from sacrebleu.metrics.bleu import BLEU

    check_segments(hypotheses, references)
    # Some sacrebleu versions drop the empty string as a reference; a blank keeps it, with no token.
    streams = list(zip_longest(*([text or " " for text in candidates] for candidates in references)))
    scorer = BLEU(tokenize=tokenizer, lowercase=lowercase, smooth_method="none", force=True)
    return float(scorer.corpus_score(list(hypotheses), streams).score) / 100.0
