"""The ranks that are planted, the controls that know them, and settings of them that cannot be."""

from collections import Counter

import pytest
from scipy.stats import spearmanr

from autolora_bench.config.task import RecoveryTask
from autolora_bench.config.truth import GRADED, planted_ranks, reversed_ranks
from autolora_bench.errors import UserError
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import plan

SMALL = ("task=planted", "model=small", "method=oracle")


def test_twelve_layers_have_the_graded_ranks_in_another_order_for_every_seed() -> None:
    found = [planted_ranks(RecoveryTask(), 12, seed) for seed in range(10)]
    assert all(sorted(ranks) == sorted(GRADED) for ranks in found)
    assert len(set(found)) == 10
    assert found[3] == planted_ranks(RecoveryTask(), 12, 3)


def test_every_layer_gets_every_rank_over_the_seeds() -> None:
    seen = [
        Counter(planted_ranks(RecoveryTask(), 12, seed)[layer] for seed in range(600)) for layer in range(12)
    ]
    for counts in seen:  # 600 x 4/12 = 200 expected eights, deviation about 12
        assert 150 < counts[8] < 250
        assert 110 < counts[0] < 190


@pytest.mark.parametrize("layers", [1, 2, 4, 6, 9, 18, 24, 36, 48, 60, 72])
def test_other_numbers_of_layers_keep_the_proportions(layers: int) -> None:
    ranks = planted_ranks(RecoveryTask(), layers, 0)
    assert len(ranks) == layers
    assert sum(ranks) == 4 * layers
    if layers % 12 == 0:
        assert Counter(ranks) == Counter(GRADED * (layers // 12))


@pytest.mark.parametrize(("truth", "rank"), [([0, 2, 4], 2), ([8], 8), ([0, 0, 0, 4], 1)])
def test_a_list_is_the_truth(truth: list[int], rank: int) -> None:
    ranks = planted_ranks(RecoveryTask(truth=truth, rank=rank), len(truth), 5)
    assert sorted(ranks) == sorted(truth)
    assert sum(planted_ranks(RecoveryTask(truth=truth, rank=rank), 7, 5)) == 7 * rank


def test_null_truths() -> None:
    assert planted_ranks(RecoveryTask(truth="uniform"), 5, 1) == (4,) * 5
    assert planted_ranks(RecoveryTask(truth="none"), 5, 1) == (0,) * 5


@pytest.mark.parametrize("seed", range(5))
def test_reversed_has_the_same_ranks_as_far_from_the_truth_as_can_be(seed: int) -> None:
    truth = planted_ranks(RecoveryTask(), 12, seed)
    turned = reversed_ranks(truth)
    assert sorted(turned) == sorted(truth)
    assert spearmanr(truth, turned).statistic < -0.95
    assert all(
        not (a < b and x < y)
        for a, x in zip(truth, turned, strict=True)
        for b, y in zip(truth, turned, strict=True)
    )


def test_the_plain_words_name_a_run_that_needs_no_data() -> None:
    (run,) = plan(Request(SMALL))
    assert run.experiment.data.source.name == "planted"
    assert run.experiment.method.dropout == 0  # type: ignore[attr-defined]


def test_the_budget_follows_the_truth() -> None:
    words = ("task=planted", "model=small", "task.rank=2", "task.truth=[0,4]")
    for method, setting in (("lora", "rank"), ("adalora", "target_rank"), ("lora_random_ranks", "rank")):
        (run,) = plan(Request((*words, f"method={method}")))
        assert getattr(run.experiment.method, setting) == 2
    (run,) = plan(Request((*words, "method=autolora_topk")))
    assert run.experiment.method.search.mean_rank == 2  # type: ignore[attr-defined]


def test_plants_of_several_seeds_are_one_cell() -> None:
    runs = plan(Request((*SMALL, "seed=0,1,2"), multirun=True))
    assert len({run.folder.parent for run in runs}) == 1


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("task.truth=gradd",), "task.truth=gradd is not known"),
        (("task.truth=[1,-1]",), "task.truth=[1, -1]"),
        (("task.truth=[]",), "task.truth=[]"),
        (("task.truth=none", "task.mode=size"), "task.mode=size with task.truth=none"),
        (("data.limit_evaluation=3",), "data.limit_evaluation=3 with task=planted"),
        (("data.limit=20",), "data.limit=20 with task=planted data=planted"),
        (("train.head_learning_rate=0.1",), "train.head_learning_rate with task=planted, which has no head"),
        (("task.truth=[1.5]",), "task.truth=[1.5]"),
        (("task.truth=[0,8,8]",), "mean rank 5.33333, and task.rank=4"),
        (("task.rank=0",), "task.rank=0"),
        (("task.change=0",), "task.change=0"),
        (("task.plant_seed=-1",), "task.plant_seed=-1"),
        (("~task.rows.test",), "has no inputs for test"),
        (("task.rows.train=0",), "task.rows"),
        (("task.planted.length=0",), "task.planted.length=0"),
        (("model.random.units=0",), "model.random.units=0"),
        (("data=local", "data.dir=/somewhere"), "model=small has random weights and reads no text"),
        (("task=rte", "data=generated", "method=lora"), "model=small has random weights and reads no text"),
        (("task=rte", "model=minilm", "data=generated"), "method=oracle does not work on classification"),
        (
            ("task=rte", "model=minilm", "data=planted", "method=lora"),
            "task=rte says nothing of data=planted",
        ),
        (("method.total=40",), "method=oracle has its ranks from the task"),
        (("method.allocation=random",), "method.allocation=random with method=oracle"),
        (
            ("method=lora_uniform", "method.allocation=oracle"),
            "method.allocation=oracle with method=lora_uniform",
        ),
        (("method=prompt_tuning", "model=minilm"), "method=prompt_tuning does not work on recovery"),
        (
            ("train.padding_free=true", "model=minilm"),
            "train.padding_free=true does not work with task=planted",
        ),
        (("train.label_smoothing=0.1",), "train.label_smoothing=0.1"),
        (("task.metrics=[accuracy]",), "accuracy is no metric of task=planted"),
    ],
)
@pytest.mark.sample(one_in=3)
def test_what_cannot_be_is_refused(words: tuple[str, ...], what: str) -> None:
    said = {word.partition("=")[0] for word in words}
    rest = tuple(word for word in SMALL if word.partition("=")[0] not in said)
    with pytest.raises(UserError) as caught:
        plan(Request((*rest, *words)))
    assert what in caught.value.what
    assert caught.value.mend


def test_texts_that_are_read_may_be_limited() -> None:
    words = ("task=planted", "model=minilm", "method=lora", "data=local", "data.dir=/none", "data.limit=4000")
    (run,) = plan(Request(words))
    assert run.experiment.data.limit == 4000


def test_a_list_of_more_ranks_than_layers_is_refused() -> None:
    """Its largest rank may be in none of the layers, so that uniform ranks would be planted in silence."""
    task = RecoveryTask(truth=[0, 0, 0, 0, 24, 0])
    with pytest.raises(UserError, match=r"task\.truth has 6 ranks, and there are 2 layers"):
        planted_ranks(task, 2, 0)
    assert max(planted_ranks(task, 12, 0)) == 24
