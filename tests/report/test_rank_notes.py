"""Whether rank makes a difference is said only where the seeds could have shown it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from autolora_bench.record import RunRecord
from autolora_bench.report.comparisons import rank_test
from autolora_bench.report.prepared import prepare


@pytest.mark.parametrize(("seeds", "ranks"), [(5, 2), (4, 3)])
def test_p_is_that_of_all_permutations(seeds: int, ranks: int) -> None:
    scores = np.random.default_rng(1).normal(size=(seeds, ranks)) + 0.4 * np.arange(ranks)

    def spread(values: np.ndarray) -> float:
        return float(values.mean(axis=0).var())

    orders = product(permutations(range(ranks)), repeat=seeds)
    drawn = [
        spread(np.array([row[list(order)] for row, order in zip(scores, each, strict=True)]))
        for each in orders
    ]
    exact = np.mean(np.array(drawn) >= spread(scores) - 1e-12)
    assert rank_test(scores) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(("seeds", "ranks", "least"), [(5, 2, 1 / 16), (6, 2, 1 / 32), (3, 3, 1 / 36)])
def test_the_least_p_is_that_of_seeds_in_one_order(seeds: int, ranks: int, least: float) -> None:
    agreed = np.tile(np.arange(ranks, dtype=float), (seeds, 1))
    assert rank_test(agreed) == pytest.approx(least, abs=0.005)


@pytest.mark.parametrize("unit", [1.0, -1.0, 1e-3, 1e-7, 1e-30, 1e9])
def test_p_does_not_depend_on_the_unit(unit: float) -> None:
    scores = np.array([[1.0, 2.0, 3.0, 4.0]] * 8) + np.random.default_rng(1).normal(0, 4, (8, 4))
    p = rank_test(scores)
    assert 1e-3 < p < 1
    assert rank_test(scores * unit) == p


def test_scores_that_are_equal_up_to_rounding_differ_in_nothing() -> None:
    scores = np.full((8, 4), 0.1)
    assert rank_test(scores) == rank_test(0 * scores) == 1.0
    assert rank_test(scores + 1e-17 * np.arange(4) + np.spacing(0.1) * np.arange(4)) == 1.0


def test_the_span_of_a_small_unit_is_no_zero(make: Callable[..., RunRecord]) -> None:
    """Ranks 1, 2 and 4 lie 1 and 3 times 1e-6 apart, of NIST and no points."""
    made = []
    for rank in (1, 2, 4):
        for seed in range(8):
            record = make("rte", "lora", seed, 0.0)
            record.config["method"]["rank"] = rank
            record.headline, record.metrics = "nist", {"nist": True}
            record.config["task"]["metrics"] = ["nist"]
            splits = (record.best, record.last)
            for found in splits:
                for name, one in found.items():
                    found[name] = replace(one, scores={"nist": 1e-6 * rank})
            made.append(replace(record, config_id=f"{rank:08x}", history=[]))
    (note,) = [line for line in prepare(made).tables[0].footnotes if line.startswith("Rank, ")]
    assert "lie 0.0000030 apart over 8 seeds, p <0.001" in note
