"""Tercom's corpus TER, the WebNLG 2017 challenge's: edits over the mean length of a segment's references."""

from collections.abc import Mapping, Sequence

from autolora_bench.metrics.generation.segments import References, check_segments


def tercom_subsets(
    hypotheses: Sequence[str], references: References, subsets: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """Corpus TER (0 or more, case ignored) of several subsets of one corpus, given by their segments' positions.

    Through sacrebleu, within .0005 of tercom 0.7.25; blank references are left out.

    Raises:
        UserError: see `check_segments`.
    """
    from sacrebleu.metrics.ter import TER

    check_segments(hypotheses, references)
    scorer = TER()
    segments = [
        scorer.sentence_score(hypothesis, [text for text in candidates if text.strip()])
        for hypothesis, candidates in zip(hypotheses, references, strict=True)
    ]
    return {
        name: sum(segments[i].num_edits for i in chosen) / sum(segments[i].ref_length for i in chosen)
        for name, chosen in subsets.items()
    }
