import json
import math
import random
import warnings

import numpy as np
import pytest
from sklearn.metrics import f1_score

from autolora_bench.errors import UserError
from autolora_bench.metrics.classification import (
    GLUE_METRICS,
    accuracy,
    f1,
    macro_f1,
    matthews_correlation,
    pearson,
    score_classification,
    spearman,
)
from autolora_bench.scoring.score import score


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_official_glue_cases_in_process_and_from_files(case_folder, expected, tmp_path):
    truth = expected("glue_2_acc_f1")
    cases = json.loads((case_folder("glue_2_acc_f1") / "data.json").read_text())
    data = {case["name"]: case for case in cases}
    for case in truth["cases"]:
        predictions, labels = data[case["name"]]["predictions"], data[case["name"]]["labels"]
        wanted = pytest.approx(case["expected"], abs=truth["tolerance_abs"])
        assert score_classification(predictions, labels, GLUE_METRICS[case["task"]]).values == wanted
        file = tmp_path / f"{case['name']}.tsv"
        file.write_text("".join(f"{p}\t{y}\n" for p, y in zip(predictions, labels, strict=True)))
        report = score({"task": case["task"], "predictions": str(file)})
        assert report["scores"] == wanted
        assert report["n"] == len(labels)


def binary_matthews(predictions, labels):
    counts = {(p, y): 0 for p in (0, 1) for y in (0, 1)}
    for pair in zip(predictions, labels, strict=True):
        counts[pair] += 1
    tp, tn, fp, fn = counts[1, 1], counts[0, 0], counts[1, 0], counts[0, 1]
    denominator = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return (tp * tn - fp * fn) / denominator if denominator else 0.0, tp, fp, fn


@pytest.mark.parametrize("seed", range(20))
def test_binary_scores_equal_their_closed_forms(seed):
    rng = random.Random(seed)
    size = rng.randint(1, 40)
    predictions, labels = ([int(rng.random() < 0.8) for _ in range(size)] for _ in range(2))
    matthews, tp, fp, fn = binary_matthews(predictions, labels)
    assert matthews_correlation(predictions, labels) == pytest.approx(matthews, abs=1e-12)
    assert f1(predictions, labels) == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp else 0.0, abs=1e-12)
    assert accuracy(predictions, labels) == sum(np.equal(predictions, labels)) / size


@pytest.mark.parametrize("seed", range(20))
def test_f1_is_what_scikit_learn_gives(seed):
    rng = random.Random(seed)
    size, classes = rng.randint(1, 40), rng.randint(1, 12)
    predictions, labels = ([rng.randrange(classes) for _ in range(size)] for _ in range(2))
    positive = [p == 1 for p in predictions], [y == 1 for y in labels]
    assert f1(predictions, labels) == f1_score(positive[1], positive[0], zero_division=0.0)
    theirs = f1_score(labels, predictions, average="macro", zero_division=0.0)
    assert macro_f1(predictions, labels) == pytest.approx(theirs, abs=1e-15)


@pytest.mark.parametrize(
    ("predictions", "labels"), [([1] * 9, [0, 1, 1] * 3), ([0, 1, 1] * 3, [0] * 9), ([1], [1])]
)
def test_matthews_of_a_constant_side_is_zero(predictions, labels):
    assert matthews_correlation(predictions, labels) == 0.0


def test_matthews_perfect_inverted_and_of_names():
    labels = [0, 1, 1, 0, 1]
    assert matthews_correlation(labels, labels) == pytest.approx(1.0, abs=1e-12)
    assert matthews_correlation([1 - y for y in labels], labels) == pytest.approx(-1.0, abs=1e-12)
    assert matthews_correlation(["a", "b", "c"], ["a", "b", "c"]) == pytest.approx(1.0, abs=1e-12)


def mean_ranks(values):
    ordered = sorted(values)
    return [ordered.index(v) + (ordered.count(v) - 1) / 2 for v in values]


def covariance_form(x, y):
    x, y = np.asarray(x) - np.mean(x), np.asarray(y) - np.mean(y)
    return float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))


@pytest.mark.parametrize("seed", range(10))
def test_correlations_equal_their_closed_forms_with_ties_and_out_of_range(seed):
    rng = random.Random(seed)
    labels = [rng.randint(0, 20) / 4 for _ in range(30)]
    predictions = [round(y + rng.gauss(0, 2), 1) for y in labels]
    assert pearson(predictions, labels) == pytest.approx(covariance_form(predictions, labels), abs=1e-12)
    ranked = covariance_form(mean_ranks(predictions), mean_ranks(labels))
    assert spearman(predictions, labels) == pytest.approx(ranked, abs=1e-12)


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        ([2.5] * 4, [0.0, 1.0, 2.0, 5.0]),
        ([0.0, 1.0, 2.0], [3.0] * 3),
        ([1.0], [2.0]),
        ([0.1 + 0.2, 0.3], [1.0, 1.0]),
    ],
)
def test_constant_correlations_are_missing_and_say_why(predictions, labels):
    assert math.isnan(pearson(predictions, labels))
    assert math.isnan(spearman(predictions, labels))
    scores = score_classification(predictions, labels, GLUE_METRICS["stsb"])
    assert scores.values == {}
    assert all("NaN" in reason for reason in scores.missing.values())
    assert set(scores.missing) == {"pearson", "spearman"}


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("others", [[1.0, 2.0], [math.nan, math.nan]])
def test_correlations_of_what_is_not_finite_are_missing_and_say_so(odd, others):
    """The ranks of infinite values are what they are, though."""
    scores = score_classification([odd, *others], [1.0, 1.0, 3.0], GLUE_METRICS["stsb"])
    assert scores.missing["pearson"] == f"undefined (NaN): {odd} is among the predictions or labels"
    assert ("spearman" in scores.values) is (math.isinf(odd) and others == [1.0, 2.0])


def test_numbers_of_numpy_are_taken():
    scores = score_classification(
        np.array([0, 1, 1]), np.array([0, 1, 0]), ["accuracy", "f1", "matthews_correlation"]
    )
    assert scores.values == pytest.approx({"accuracy": 2 / 3, "f1": 2 / 3, "matthews_correlation": 0.5})


@pytest.mark.parametrize(
    ("predictions", "labels", "metrics", "what"),
    [
        ([1, 0], [1], ["accuracy"], "2 predictions for 1 labels"),
        ([], [], ["accuracy"], "nothing to score"),
        ([1], [1], ["bleu"], "bleu"),
        ([1], [1], ["acuracy"], "acuracy"),
    ],
)
def test_misuse_is_refused(predictions, labels, metrics, what):
    with pytest.raises(UserError, match=what):
        score_classification(predictions, labels, metrics)
