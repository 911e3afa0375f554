"""Translation edit rates of WebNLG: GenerationEval's, a mean over segments, and the 2017 challenge's corpus TER.

GenerationEval's is pyter3 0.3's, a greedy search: of all moves of a run of matching words to where it stands in the
reference, take the one after which the edit distance is least (ties: the greatest word sequence), while it gets
smaller. Words are mapped to characters in their alphabetical order, so that strings compare and have distances as the
lists of words do.
"""

from collections.abc import Iterator, Mapping, Sequence

from autolora_bench.metrics.scores import References, check_segments


def ter(hypotheses: Sequence[str], references: References) -> float:
    """Mean over segments of the least edit rate over a segment's references; 0 or more, lower is better.

    Args:
        hypotheses: N texts, words separated by blanks, compared with regard to case.
        references: for each its references; a blank one counts as rate 1, as in WebNLG/GenerationEval@8067849.

    Raises:
        UserError: see `check_segments`.
    """
    check_segments(hypotheses, references)
    rates = segment_rates(hypotheses, references)
    return sum(rates) / len(rates)


def segment_rates(hypotheses: Sequence[str], references: References) -> list[float]:
    """Each segment's least edit rate over its references."""
    return [
        min(edit_rate(hypothesis.split(), words) for words in {tuple(text.split()) for text in candidates})
        for hypothesis, candidates in zip(hypotheses, references, strict=True)
    ]


def edit_rate(hypothesis: Sequence[str], reference: Sequence[str]) -> float:
    """Edits (moves, insertions, deletions, substitutions) over the reference's words; 1 without reference words."""
    from rapidfuzz.distance import Levenshtein

    if not reference:
        return 1.0
    rank = {word: chr(index) for index, word in enumerate(sorted({*hypothesis, *reference}))}
    source, target = ("".join(rank[word] for word in words) for words in (hypothesis, reference))
    moves, distance = 0, Levenshtein.distance(source, target)
    unavoidable = _unavoidable_edits(source, target)
    while distance > unavoidable:
        # Equal distances matter for the tie, greater ones do not: the cutoff lets the library stop early.
        best = (-distance, "")
        for moved in set(_moves(source, target)):
            candidate = Levenshtein.distance(moved, target, score_cutoff=-best[0])
            best = max(best, (-candidate, moved))
        if -best[0] >= distance:
            break
        moves, distance, source = moves + 1, -best[0], best[1]
    return (moves + distance) / len(target)


def _unavoidable_edits(source: str, target: str) -> int:
    """Edits left when the words stand in the best order: no move can go below."""
    common = sum(min(source.count(word), target.count(word)) for word in set(source))
    return max(len(source), len(target)) - common


def _moves(source: str, target: str) -> Iterator[str]:
    """The source with one run of words, equal to the reference's at another place, moved to that place."""
    for start, word in enumerate(source):
        place = target.find(word)
        while place >= 0:
            if place != start:
                length = _common_run(source, target, start, place)
                rest = source[:start] + source[start + length :]
                yield rest[:place] + source[start : start + length] + rest[place:]
            place = target.find(word, place + 1)


def _common_run(source: str, target: str, start: int, place: int) -> int:
    length = 1
    longest = min(len(source) - start, len(target) - place)
    while length < longest and source[start + length] == target[place + length]:
        length += 1
    return length


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
