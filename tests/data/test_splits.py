"""Search halves and small runs: disjoint, complete, seeded, in proportion."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from datasets import Dataset

from autolora_bench.data.splits import limit, search_split
from autolora_bench.errors import UserError


def dataset(labels: list[int]) -> Dataset:
    return Dataset.from_dict({"row": list(range(len(labels))), "label": labels})


def mixed(size: int) -> list[int]:
    return [0 if i % 3 else 1 for i in range(size)]


@pytest.mark.parametrize("share", [0.5, 0.7])
@pytest.mark.parametrize("size", [2, 7, 100, 101, 2490])
@pytest.mark.parametrize("stratify", ["label", None])
@pytest.mark.sample(one_in=4)
def test_the_halves_cover_the_data_once(share: float, size: int, stratify: str | None) -> None:
    first, second = search_split(dataset(mixed(size)), share, 3, stratify)
    rows = first["row"][:] + second["row"][:]
    assert sorted(rows) == list(range(size))
    assert abs(len(first) - share * size) <= 0.5
    assert list(first["row"]) == sorted(first["row"])
    assert list(second["row"]) == sorted(second["row"])


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_classes_are_shared_in_proportion(share: float) -> None:
    labels = [0] * 601 + [1] * 299 + [2] * 31
    first, _ = search_split(dataset(labels), share, 0, "label")
    counts = Counter(first["label"])
    for label, total in Counter(labels).items():
        assert abs(counts[label] - share * total) < 1


def test_a_rare_class_is_in_both_halves() -> None:
    labels = [0] * 500 + [1, 1] + [2]
    for seed in range(5):
        halves = search_split(dataset(labels), 0.7, seed, "label")
        assert [Counter(half["label"])[1] for half in halves] == [1, 1]
        assert sum(Counter(half["label"])[2] for half in halves) == 1


def test_more_classes_than_a_half_has_room_for() -> None:
    first, second = search_split(dataset([0, 0, 1, 1, 2, 2, 3, 3]), 0.25, 0, "label")
    assert (len(first), len(second)) == (2, 6)


def test_the_seed_decides() -> None:
    data = dataset(mixed(100))
    halves = [search_split(data, 0.5, seed, "label")[0]["row"][:] for seed in (0, 0, 1)]
    assert halves[0] == halves[1] != halves[2]


def test_the_choice_is_the_same_in_every_version() -> None:
    assert search_split(dataset([0, 1] * 6), 0.5, 42, "label")[0]["row"][:] == [1, 4, 5, 6, 9, 10]


@pytest.mark.parametrize(("size", "share"), [(1, 0.5), (0, 0.5), (10, 0.01), (10, 1.0), (10, 0.0), (10, 1.5)])
def test_an_empty_half_is_refused(size: int, share: float, refused: Callable[..., UserError]) -> None:
    refused(lambda: search_split(dataset(mixed(size)), share, 0, None), f"{size} training examples", "empty")


@pytest.mark.parametrize("size", [1, 10, 33, 99])
def test_a_limit_keeps_order_and_proportion(size: int) -> None:
    few = limit(dataset(mixed(100)), size, "label")
    assert len(few) == size
    assert few["row"][:] == sorted(set(few["row"]))
    assert abs(Counter(few["label"])[1] - size * 34 / 100) < 1
    assert few["row"][:] == limit(dataset(mixed(100)), size, "label")["row"][:]


@pytest.mark.parametrize("size", [None, 100, 1000])
def test_no_limit_changes_nothing(size: Any) -> None:
    data = dataset(mixed(100))
    assert limit(data, size, "label") is data
