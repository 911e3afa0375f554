"""Whether rank makes a difference is said only where the seeds could have shown it."""

from itertools import permutations, product

import numpy as np
import pytest

from autolora_bench.report.comparisons import rank_test


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
