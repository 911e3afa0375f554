"""ROUGE-L and CIDEr against closed forms."""

import math

import pytest

from autolora_bench.errors import UserError
from autolora_bench.metrics.generation.captions import cider, rouge_l, rouge_l_google
from autolora_bench.metrics.generation.meteor import meteor
from autolora_bench.metrics.generation.ter import ter
from autolora_bench.metrics.scores import MetricUnavailableError


def f_beta(precision, recall, beta=1.2):
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def test_rouge_l_takes_precision_and_recall_from_different_references():
    # "a b c d": all of "a b" is found (recall 1), and "a x b y c z d" holds all of the output (precision 1)
    score = rouge_l(["a b c d"], [["a b", "a x b y c z d"]])
    assert score == pytest.approx(f_beta(1.0, 1.0), abs=1e-12)
    assert rouge_l(["a b c d"], [["a x b y c z d"]]) == pytest.approx(f_beta(1.0, 4 / 7), abs=1e-12)


def test_rouge_l_is_a_mean_over_segments_and_zero_without_a_match():
    assert rouge_l(["a b", "x", ""], [["a b"], ["y"], ["z"]]) == pytest.approx(1 / 3, abs=1e-12)


def test_rouge_l_parts_tokens_at_any_white_space_but_a_no_break_one():
    assert rouge_l(["a b\nc\n\nd", " e  f\t"], [["a b c d"], ["e f"]]) == 1.0
    assert rouge_l(["a\u2003b\x85c\x1cd"], [["a b c d"]]) == 1.0
    assert rouge_l(["1\u00a01/2 a"], [["1 1/2 a"]]) == pytest.approx(f_beta(1 / 2, 1 / 3), abs=1e-12)


def test_google_rouge_l_takes_the_best_single_reference():
    precision, recall = 1.0, 4 / 7
    wanted = 2 * precision * recall / (precision + recall)
    assert rouge_l_google(["a b c d"], [["a b", "A x b y c, z d!"]]) == pytest.approx(wanted, abs=1e-12)


def test_cider_worked_by_hand():
    # Two segments: every n-gram stands in one of them, so all idf are log 2 and cancel in the cosine.
    references = [["a b c d"], ["e f g h"]]
    assert cider(["a b c d", "e f g h"], references) == pytest.approx(10.0, abs=1e-9)
    # "a b": 1-grams 2 of sqrt(2 x 4), 2-grams 1 of sqrt(1 x 3), one bigram instead of three: penalty exp(-4 / 72)
    wanted = 10 * (2 / math.sqrt(8) + 1 / math.sqrt(3)) / 4 * math.exp(-(2**2) / (2 * 6**2)) / 2
    assert cider(["a b", ""], references) == pytest.approx(wanted, abs=1e-9)


def test_google_rouge_l_does_not_score_what_it_cannot_read():
    """rouge-score's tokens are of the letters a to z: every text in Cyrillic would score 0."""
    with pytest.raises(MetricUnavailableError, match="100% of the references' are others"):
        rouge_l_google(["Привет, мир."], [["Привет, мир."]])
    few = "Das Café in der Nähe ist sehr familienfreundlich und preiswert"
    assert rouge_l_google([few], [[few]]) == 1.0


def test_a_reference_whose_tokens_are_gone_scores_nothing():
    """The PTB tokeniser drops punctuation, which may be all of a reference."""
    assert rouge_l(["a b", "c"], [["a b"], [""]]) == pytest.approx(0.5)
    assert rouge_l(["a b", "c"], [["a b"], ["", "c"]]) == pytest.approx(1.0)
    assert cider(["a b", "c"], [["a b"], [""]]) == pytest.approx(10 / 4, abs=1e-9)
    with pytest.raises(UserError, match="segment 2 has no reference"):
        rouge_l(["a b", "c"], [["a b"], []])


def test_meteor_alone_disregards_case(java: str):
    upper, lower = ["THE PUB IS CHEAP", "X Y"], [["the pub is cheap"], ["x y"]]
    assert meteor(upper, lower) == 1.0
    assert (rouge_l(upper, lower), cider(upper, lower), ter(upper, lower)) == (0.0, 0.0, 1.0)


def test_so_with_meteor(java: str):
    assert 0 < meteor(["a b", "c"], [["a b"], [""]]) < 1
