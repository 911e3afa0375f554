"""CIDEr-D (Vedantam et al. 2015): n = 1..4, sigma 6, idf from the corpus's own references, times 10."""

from collections.abc import Sequence

from autolora_bench.metrics.generation.segments import References, check_segments


def cider(hypotheses: Sequence[str], references: References) -> float:
    """CIDEr-D of tokenised texts, 0..10, mean over segments; 0 for a corpus of one segment, whose idf is 0.

    Raises:
        UserError: see `check_segments`.
    """
    from pycocoevalcap.cider.cider import Cider

    check_segments(hypotheses, references)
    truth = {index: list(texts) for index, texts in enumerate(references)}
    outputs = {index: [text] for index, text in enumerate(hypotheses)}
    score, _ = Cider().compute_score(truth, outputs)
    return float(score)
