"""BLEU and NIST: worked by hand, and against a second implementation written for the test."""

import math
import random
from itertools import product

import pytest

from autolora_bench.errors import UserError
from autolora_bench.metrics.generation.bleu import bleu, mteval_bleu
from autolora_bench.metrics.generation.mteval import MtevalMode, tokenize
from autolora_bench.metrics.generation.nist import nist

CLEAN, PYMTEVAL, PERL = MtevalMode
MODES = list(MtevalMode)


@pytest.mark.parametrize("mode", MODES)
def test_nist_worked_by_hand(mode):
    # Four words, two a, one b, one c; information of a 1, of b 2, of "a b" log2(2/1) = 1, the rest unmatched.
    assert nist(["a b"], [["a b", "c a"]], mode) == pytest.approx((1 + 2) / 2 + 1, abs=1e-12)


def test_nist_length_terms_worked_by_hand():
    references = [["a b c d", "e f"], ["g h i"]]  # nine words, info log2 9 each; bigrams add log2 1 = 0
    hypotheses = ["a b", "g h"]
    beta = math.log(0.5) / math.log(1.5) ** 2
    for mode, length in [(CLEAN, 3 + 3), (PYMTEVAL, 3 + 3), (PERL, 9 / (3 / 2))]:
        wanted = math.log2(9) * math.exp(beta * math.log(4 / length) ** 2)
        assert nist(hypotheses, references, mode) == pytest.approx(wanted, abs=1e-12)
    references = [["a b c d", "e f", "j k l m n o"], ["g h i"]]
    for mode, length in [(CLEAN, 4 + 3), (PERL, 15 / (4 / 2))]:
        wanted = math.log2(15) * math.exp(beta * math.log(4 / length) ** 2)
        assert nist(hypotheses, references, mode) == pytest.approx(wanted, abs=1e-12)


def test_nist_penalty_is_half_at_two_thirds_of_the_length():
    long, short = nist(["a b c"], [["a b c"]]), nist(["a b"], [["a b c"]])
    assert long == pytest.approx(math.log2(3), abs=1e-12)
    assert short == pytest.approx(0.5 * math.log2(3), abs=1e-12)


def test_perl_takes_the_word_0_for_no_word():
    # "0 b": the script divides the number of words, 4, by its count 1, instead of the count of "0", 2.
    hypotheses, references = ["0 b"], [["0 b 0 c"]]
    beta = math.log(0.5) / math.log(1.5) ** 2
    penalty = math.exp(beta * math.log(2 / 4) ** 2)
    assert nist(hypotheses, references, PYMTEVAL) == pytest.approx(penalty * ((1 + 2) / 2 + 1), abs=1e-12)
    assert nist(hypotheses, references, PERL) == pytest.approx(penalty * ((1 + 2) / 2 + 2), abs=1e-12)


def count(tokens, gram):
    return sum(tuple(tokens[i : i + len(gram)]) == gram for i in range(len(tokens) - len(gram) + 1))


def grams(tokens, order):
    return {tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)}


def clipped(hypothesis, references, order):
    return {
        g: min(count(hypothesis, g), max(count(r, g) for r in references)) for g in grams(hypothesis, order)
    }


def slow_nist(hypotheses, references):
    everything = [r for candidates in references for r in candidates]
    words = sum(map(len, everything))
    score = 0.0
    for order in range(1, 6):
        gained = 0.0
        for hypothesis, candidates in zip(hypotheses, references, strict=True):
            for gram, matched in clipped(hypothesis, candidates, order).items():
                if matched:
                    before = sum(count(r, gram[:-1]) for r in everything) if order > 1 else words
                    gained += matched * math.log2(before / sum(count(r, gram) for r in everything))
        total = sum(max(0, len(h) - order + 1) for h in hypotheses)
        score += gained / total if total else 0.0
    length = sum(sum(map(len, candidates)) / len(candidates) for candidates in references)
    ratio = min(1.0, sum(map(len, hypotheses)) / length)
    return score * math.exp(math.log(0.5) / math.log(1.5) ** 2 * math.log(ratio) ** 2) if ratio else 0.0


def slow_bleu(hypotheses, references):
    logs = 0.0
    for order in range(1, 5):
        correct = sum(sum(clipped(h, r, order).values()) for h, r in zip(hypotheses, references, strict=True))
        total = sum(max(0, len(h) - order + 1) for h in hypotheses)
        if not correct:
            return 0.0
        logs += math.log(correct / total) / 4
    length = sum(map(len, hypotheses))
    closest = sum(
        min((abs(len(r) - len(h)), len(r)) for r in candidates)[1]
        for h, candidates in zip(hypotheses, references, strict=True)
    )
    return math.exp(logs + min(0.0, 1 - closest / length))


@pytest.mark.parametrize("seed", range(25))
def test_random_corpora_equal_the_second_implementation(seed):
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(6)]
    references = [
        [rng.choices(words, k=rng.randint(1, 12)) for _ in range(rng.randint(1, 4))]
        for _ in range(rng.randint(1, 6))
    ]
    shortest = 5 if seed % 2 else 0
    hypotheses = [rng.choices(words, k=rng.randint(shortest, 12)) for _ in references]
    texts = (
        [" ".join(h) for h in hypotheses],
        [[" ".join(r) for r in candidates] for candidates in references],
    )
    assert nist(*texts) == pytest.approx(slow_nist(hypotheses, references), abs=1e-9)
    assert mteval_bleu(*texts) == pytest.approx(slow_bleu(hypotheses, references), abs=1e-9)
    if shortest:
        assert nist(*texts, PYMTEVAL) == pytest.approx(slow_nist(hypotheses, references), abs=1e-9)
        assert mteval_bleu(*texts, PYMTEVAL) == pytest.approx(slow_bleu(hypotheses, references), abs=1e-4)


def test_bleu_tie_of_reference_lengths_takes_the_shorter():
    assert bleu(["a b c d e"], [["a b c d", "a b c d e f"]], lowercase=False) == pytest.approx(1.0, abs=1e-12)
    wanted = math.exp(1 - 6 / 5)
    assert bleu(["a b c d e"], [["a b c d e f"]], lowercase=False) == pytest.approx(wanted, abs=1e-12)


def test_blank_reference_has_length_zero_in_bleu():
    assert bleu(["a b c d"], [["a b c d x x x x x", ""]], lowercase=False) == pytest.approx(1.0, abs=1e-12)
    with_blank = bleu(["a b c d"], [["a b c d x x x x", ""]], lowercase=False)
    assert with_blank == pytest.approx(1.0, abs=1e-12)  # 8 and 0 are as near to 4: the shorter counts
    assert bleu(["a b c d"], [["a b c d x x x x"]], lowercase=False) == pytest.approx(math.exp(-1), abs=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_clean_and_official_modes_agree_on_ordinary_outputs(mode):
    hypotheses = ["The Eagle is a cheap café, near Burger King.", "Zizzi sells sushi for £20-25 &amp; more!"]
    references = [
        ["The Eagle is a cheap café near the Burger King.", "The Eagle: a café."],
        ["Zizzi sells sushi."],
    ]
    assert mteval_bleu(hypotheses, references, mode) == pytest.approx(
        mteval_bleu(hypotheses, references), abs=1e-12
    )


def test_empty_output_has_a_token_only_for_pymteval():
    assert [tokenize("", mode) for mode in MODES] == [[], [""], []]


def test_only_perl_leaves_letters_beyond_ascii_in_their_case():
    assert [tokenize("CAFÉ Łódź", mode) for mode in MODES] == [
        ["café", "łódź"],
        ["café", "łódź"],
        ["cafÉ", "Łódź"],
    ]


def test_pymteval_totals_go_below_zero():
    hypotheses, references = ["a", "a b c d e"], [["a"], ["a b c d e"]]
    assert mteval_bleu(hypotheses, references, CLEAN) == pytest.approx(1.0, abs=1e-12)
    assert mteval_bleu(hypotheses, references, PERL) == pytest.approx(1.0, abs=1e-12)
    # totals 6, 4, 2, 0 for 6, 4, 3, 2 matches: "a" takes away 1 trigram and 2 4-grams it never had
    wanted = (3 / 2 * 2 / 1e-9) ** 0.25
    assert mteval_bleu(hypotheses, references, PYMTEVAL) == pytest.approx(wanted, rel=1e-9)


def test_perl_smooths_bleu():
    # there is no trigram, so the orders 3 and 4 are skipped
    assert mteval_bleu(["a b"], [["a b"]], PERL) == pytest.approx(1.0, abs=1e-12)
    # a b x d: 3/4, 1/3, then half a match of 2 and a quarter of 1
    wanted = (3 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1) ** 0.25
    assert mteval_bleu(["a b x d"], [["a b c d"]], PERL) == pytest.approx(wanted, abs=1e-12)
    assert mteval_bleu(["a b x d"], [["a b c d"]], CLEAN) == 0.0
    # nothing right: half a match of 2, the longer orders skipped; reference lengths 6 and 2
    wanted = 0.25**0.25 * math.exp(1 - 8 / 2)
    assert mteval_bleu(["x", "y"], [["a b c d e f"], ["g h i j k l", "m n"]], PERL) == pytest.approx(
        wanted, abs=1e-12
    )
    assert mteval_bleu(["", ""], [["a"], ["b"]], PERL) == 0.0


@pytest.mark.parametrize(("mode", "hypotheses"), list(product(MODES, [["", ""], ["x", "y"], ["", "x y z"]])))
def test_outputs_without_a_match_score_zero(mode, hypotheses):
    references = [["a b c d e f"], ["g h i j k l", "m n"]]
    assert nist(hypotheses, references, mode) == 0.0
    if mode is not PERL:
        assert mteval_bleu(hypotheses, references, mode) == pytest.approx(0.0, abs=1e-3)


def test_a_number_of_references_that_varies_is_no_obstacle():
    hypotheses, references = ["a b c d e"] * 3, [["a b c d e"], ["x", "a b c d e", "y"], ["a b c d e", "z"]]
    assert mteval_bleu(hypotheses, references) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("function", [nist, mteval_bleu])
def test_what_cannot_be_scored_is_refused(function):
    with pytest.raises(UserError, match="1 outputs for 2 sets"):
        function(["a"], [["a"], ["b"]])
    with pytest.raises(UserError, match="segment 2 has no reference"):
        function(["a", "b"], [["a"], [" "]])
    with pytest.raises(UserError, match="nothing to score"):
        function([], [])
