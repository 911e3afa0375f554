import random

import pytest

from autolora_bench.errors import UserError
from autolora_bench.metrics.tagging import count_entities, score_tagging, total
from autolora_bench.scoring.score import score

CASES = ["ner_1_wellformed", "ner_3_malformed_both"]


@pytest.mark.parametrize("case", CASES)
def test_official_cases(case, case_folder, expected):
    truth = expected(case)
    report = score({"task": "bionlp", "predictions": str(case_folder(case) / "data.conll")})
    assert report["n"] == truth["sentences"]
    assert report["tokens"] == truth["tokens"]
    assert report["entities"] == {key: truth[f"{key}_phrases"] for key in ("gold", "predicted", "correct")}
    for name in ("precision", "recall", "f1"):
        assert report["scores"][name] == pytest.approx(truth[name], abs=truth["tolerance_abs"])
        for kind, values in truth["per_type"].items():
            assert 100 * report["scores"][f"{name}/{kind}"] == pytest.approx(
                values[f"{name}_pct"], abs=0.0051
            )


def conlleval_entities(tags):
    """Entities by the rules of the 2004 script for B and I: a second implementation, for the test only."""
    entities, start, previous = set(), None, ("O", "")
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if start is not None and (prefix in "BO" or kind != previous[1]):
            entities.add((previous[1], start, position - 1))
            start = None
        if prefix != "O" and start is None:
            start = position
        previous = prefix, kind
    return entities


@pytest.mark.parametrize("seed", range(30))
def test_random_tags_malformed_or_not_count_as_conlleval_counts(seed):
    rng = random.Random(seed)
    tags = ["O", "B-a", "I-a", "B-b", "I-b", "B-cell_line", "I-cell_line"]
    lengths = [rng.randint(1, 8) for _ in range(rng.randint(1, 25))]
    labels, predictions = ([[rng.choice(tags) for _ in range(n)] for n in lengths] for _ in range(2))
    gold, found = (
        {(i, *e) for i, s in enumerate(side) for e in conlleval_entities(s)} for side in (labels, predictions)
    )
    counts = count_entities(predictions, labels)
    assert total(counts).gold == len(gold)
    assert total(counts).predicted == len(found)
    assert total(counts).correct == len(gold & found)
    for kind, count in counts.items():
        assert (count.gold, count.predicted, count.correct) == tuple(
            sum(entity[1] == kind for entity in side) for side in (gold, found, gold & found)
        )


def test_nothing_predicted_is_zero_and_not_nan():
    scores = score_tagging([["O", "O", "O"]], [["B-protein", "I-protein", "O"]])
    assert scores.values == dict.fromkeys(
        [m + s for s in ("", "/protein") for m in ("precision", "recall", "f1")], 0.0
    )
    assert scores.missing == {}


def test_neither_side_has_an_entity():
    assert score_tagging([["O"]], [["O"]]).values == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_entities_do_not_reach_over_sentences():
    scores = score_tagging([["B-x"], ["I-x"]], [["B-x"], ["I-x"]])
    assert scores.values["f1"] == 1.0
    assert total(count_entities([["B-x"], ["I-x"]], [["B-x"], ["I-x"]])).gold == 2


def test_seqeval_itself_agrees():
    from seqeval.metrics import f1_score, precision_score, recall_score

    labels = [["B-a", "I-b", "O", "I-a"], ["I-b", "I-b", "B-b"]]
    predictions = [["I-a", "I-b", "O", "B-a"], ["I-b", "B-b", "I-b"]]
    values = score_tagging(predictions, labels).values
    assert values["precision"] == pytest.approx(precision_score(labels, predictions), abs=1e-12)
    assert values["recall"] == pytest.approx(recall_score(labels, predictions), abs=1e-12)
    assert values["f1"] == pytest.approx(f1_score(labels, predictions), abs=1e-12)


def test_lengths_that_differ_are_refused():
    with pytest.raises(UserError, match="1 predicted sentences for 2"):
        score_tagging([["O"]], [["O"], ["O"]])
    with pytest.raises(UserError, match="sentence 2: 1 predicted tags for 2 labels"):
        score_tagging([["O"], ["O"]], [["O"], ["O", "O"]])
