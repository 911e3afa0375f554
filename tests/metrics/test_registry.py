import subprocess
import sys

import pytest

from autolora_bench.config.task import ClassificationTask, GenerationTask, Scorer, TaggingTask
from autolora_bench.errors import UserError
from autolora_bench.metrics.kinds import check_metrics
from autolora_bench.metrics.registry import METRICS, forget_metric, lookup, metric, with_own
from autolora_bench.metrics.scores import MetricScores

CANONICAL = [
    *("accuracy", "f1", "matthews_correlation", "pearson", "spearman", "precision", "recall"),
    *("bleu", "nist", "meteor", "rouge_l", "cider", "ter"),
]


@pytest.mark.parametrize("name", CANONICAL)
def test_canonical_names_are_there(name):
    assert METRICS[name].name == name
    assert METRICS[name].higher_is_better == (name != "ter")
    assert METRICS[name].published_scale == (1 if name in ("nist", "cider") else 100)


def test_score_of_a_subset_is_found_by_its_metric():
    assert lookup("f1/cell_line") is METRICS["f1"]
    assert lookup("ter/unseen") is METRICS["ter"]


def test_unknown_metric_is_named_with_a_close_one():
    with pytest.raises(UserError, match="blue") as caught:
        lookup("blue")
    assert "bleu" in caught.value.mend


def test_of_two_merits_the_greater_is_the_better_score():
    assert METRICS["ter"].merit(0.4) > METRICS["ter"].merit(0.5)
    assert METRICS["bleu"].merit(0.4) < METRICS["bleu"].merit(0.5)


@pytest.mark.parametrize(
    ("task", "names", "refused"),
    [
        (TaggingTask(entities=["DNA"]), ["f1", "f1/DNA", "recall/DNA"], ["f1/RNA", "accuracy", "f1/"]),
        (GenerationTask(scorer=Scorer.webnlg, seen_categories=["Food"]), ["ter", "ter/seen"], ["ter/good"]),
        (GenerationTask(scorer=Scorer.webnlg), ["ter"], ["ter/seen"]),
        (GenerationTask(scorer=Scorer.e2e), ["bleu"], ["bleu/seen", "ter"]),
        (ClassificationTask(labels=["a", "b"]), ["accuracy", "f1"], ["accuracy/a", "f1/a"]),
    ],
)
def test_a_task_has_the_metrics_of_its_kind_and_of_its_parts(task, names, refused):
    for name in names:
        task.name, task.metrics = "mine", [name]
        check_metrics(task)
    for name in refused:
        task.metrics = [name]
        with pytest.raises(UserError, match=f"{name} is no metric of task=mine"):
            check_metrics(task)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (
            "metrics.registry",
            "numpy sklearn scipy sacrebleu pycocoevalcap seqeval rapidfuzz pandas torch subprocess",
        ),
        (
            "metrics.classification",
            "numpy sklearn scipy sacrebleu pycocoevalcap seqeval rapidfuzz pandas torch subprocess",
        ),
        ("scoring.score", "numpy sklearn scipy sacrebleu pycocoevalcap seqeval rapidfuzz pandas torch"),
    ],
)
def test_importing_loads_no_library(module, absent):
    code = f"import autolora_bench.{module}, sys; print(*sys.modules)"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded & set(absent.split())


@pytest.fixture
def own():
    """States a metric of one's own for a test."""
    stated = []

    def state(name, score):
        metric(name, tasks=("classification",))(score)
        stated.append(name)

    yield state
    for name in stated:
        forget_metric(name)


def test_a_metric_that_changes_what_it_is_given_changes_nothing_else(own):
    own("a_sorting", lambda p, r: float(p.sort() is r.sort()))
    own("b_share", lambda p, r: sum(a == b for a, b in zip(p, r, strict=True)) / len(p))
    predictions, references = [1, 0, 0], [0, 1, 1]
    found = with_own(MetricScores(), ["a_sorting", "b_share"], predictions, references)
    assert found.values["b_share"] == 0.0
    assert (predictions, references) == ([1, 0, 0], [0, 1, 1])


@pytest.mark.parametrize(
    ("score", "what"),
    [
        (lambda p, r: None, "TypeError"),
        (lambda p, r: p[9], "IndexError"),
        (lambda p, r: float("inf"), "gave inf"),
    ],
)
def test_a_metric_that_fails_is_named(own, score, what):
    own("mine", score)
    with pytest.raises(UserError, match=f"the metric mine .*{what}"):
        with_own(MetricScores(), ["mine"], [1], [1])


def test_a_metric_that_is_nan_says_so_of_itself(own):
    own("mine", lambda p, r: float("nan"))
    found = with_own(MetricScores(), ["mine"], [1], [1])
    assert found.missing == {"mine": "undefined: it gave NaN"}
