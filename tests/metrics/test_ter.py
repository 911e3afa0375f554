import random

import pytest

from autolora_bench.errors import UserError
from autolora_bench.metrics.generation.ter import edit_rate, segment_rates, ter

pyter = pytest.importorskip("pyter")


def words(text):
    return text.split()


def test_one_move_and_one_substitution():
    hypothesis = words("on monday the mayor opened a bridge")
    assert edit_rate(hypothesis, words("the mayor opened the bridge on monday")) == 2 / 7


@pytest.mark.sample(one_in=4)
@pytest.mark.parametrize("seed", range(40))
def test_random_segments_equal_pyter_exactly(seed):
    rng = random.Random(seed)
    vocabulary = [rng.choice("abZé漢😀") * rng.randint(1, 2) for _ in range(rng.randint(1, 9))]
    for _ in range(40):
        hypothesis, reference = (
            rng.choices(vocabulary, k=rng.randint(0, 14)),
            rng.choices(vocabulary, k=rng.randint(1, 14)),
        )
        assert edit_rate(hypothesis, reference) == pyter.ter(hypothesis, reference), (hypothesis, reference)


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_sentences_equal_pyter_exactly(seed):
    rng = random.Random(seed)
    sentence = words("the ship aida was built in 2003 by the meyer werft and the ship is 203 metres long .")
    for _ in range(8):
        hypothesis = rng.sample(sentence, len(sentence))
        assert edit_rate(hypothesis, sentence) == pyter.ter(hypothesis, sentence)


@pytest.mark.parametrize("step", [240, pytest.param(60, marks=pytest.mark.slow)])
def test_a_part_of_the_official_example_equals_pyter(step, metric_cases):
    folder = metric_cases / "webnlg_2_generationeval_example"
    hypotheses = (folder / "hypothesis").read_text(encoding="utf-8").split("\n")[::step]
    columns = [(folder / f"reference{i}").read_text(encoding="utf-8").split("\n")[::step] for i in range(6)]
    references = list(zip(*columns, strict=True))
    slow = [
        min(pyter.ter(h.split(), r.split()) for r in set(rs))
        for h, rs in zip(hypotheses, references, strict=True)
    ]
    assert segment_rates(hypotheses, references) == slow
    assert ter(hypotheses, references) == pytest.approx(sum(slow) / len(slow), abs=1e-12)


def test_least_reference_then_mean_over_segments():
    assert segment_rates(["a b c d", "a"], [["x y", "a b c e"], ["a b"]]) == [1 / 4, 1 / 2]
    assert ter(["a b c d", "a"], [["x y", "a b c e"], ["a b"]]) == 3 / 8


def test_blank_references_count_as_rate_one_as_in_the_official_script():
    assert segment_rates(["a b c d e f", "", "a"], [["a x", " "], ["a", ""], ["a", ""]]) == [1.0, 1.0, 0.0]


def test_rates_above_one_are_kept():
    assert ter(["a b c d"], [["x"]]) == 4.0


def test_more_distinct_words_than_a_byte_holds():
    reference = [f"w{i:04d}" for i in range(700)]
    assert edit_rate(reference[350:] + reference[:350], reference) == pytest.approx(1 / 700)


def test_segment_without_reference_is_refused():
    with pytest.raises(UserError, match="segment 1 has no reference"):
        ter(["a"], [["", " "]])
