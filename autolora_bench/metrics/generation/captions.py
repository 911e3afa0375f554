"""MS-COCO's caption scores ROUGE-L and CIDEr-D, which E2E reports, and Google's ROUGE-L under its own name."""

from collections.abc import Sequence

from autolora_bench.metrics.generation.segments import References, check_segments


def rouge_l(hypotheses: Sequence[str], references: References) -> float:
    """MS-COCO's ROUGE-L of tokenised texts, 0..1, mean over segments.

    Precision and recall are each the maximum over references, perhaps of different ones; beta is 1.2. One reference
    or more a segment.

    Raises:
        UserError: see `check_segments`.
    """
    from pycocoevalcap.rouge.rouge import Rouge

    check_segments(hypotheses, references)
    scorer = Rouge()
    scores = [scorer.calc_score([h], list(r)) for h, r in zip(hypotheses, references, strict=True)]
    return float(sum(scores)) / len(scores)


def rouge_l_google(hypotheses: Sequence[str], references: References) -> float:
    """rouge-score's ROUGE-L F1 of raw texts (its own tokens, no stemming): best reference, mean over segments.

    Not the E2E challenge's number: that is `rouge_l`.

    Raises:
        UserError: see `check_segments`.
    """
    from rouge_score.rouge_scorer import RougeScorer

    check_segments(hypotheses, references)
    scorer = RougeScorer(["rougeL"])
    scores = [
        scorer.score_multi(list(r), h)["rougeL"].fmeasure for h, r in zip(hypotheses, references, strict=True)
    ]
    return float(sum(scores)) / len(scores)


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
