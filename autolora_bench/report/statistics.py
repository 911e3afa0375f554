"""Paired comparison of methods: sign-flip permutation test, bootstrap interval, Holm's correction."""

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

ALPHA = 0.05
EXACT_PAIRS = 16
"""Up to so many pairs all 2^n sign patterns are counted; above, they are sampled."""


def paired_differences(first: Mapping[Key, float], second: Mapping[Key, float]) -> Floats:
    """Differences first - second over the keys, (task, seed), that both have, in the keys' order."""
    keys = sorted(first.keys() & second.keys(), key=repr)
    return np.array([first[key] - second[key] for key in keys], dtype=np.float64)


def sign_flip_test(differences: Sequence[float] | Floats, *, samples: int = 20_000, seed: int = 0) -> float:
    """Two-sided p of the hypothesis that each paired difference could as well have the other sign.

    The statistic is the sum. Exact up to `EXACT_PAIRS` pairs (p is a multiple of 2^-n); above, a seeded Monte
    Carlo estimate (1 + hits) / (1 + samples), which is never zero. No pairs give 1.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.size == 0:
        return 1.0
    observed = abs(float(values.sum()))
    reached = observed - 1e-9 * float(np.abs(values).sum())
    if values.size <= EXACT_PAIRS:
        return float(np.mean(np.abs(_sign_patterns(values.size) @ values) >= reached))
    sums = _drawn_signs(samples, values.size, seed) @ values
    return float(1 + np.count_nonzero(np.abs(sums) >= reached)) / (1 + samples)


@lru_cache(maxsize=2)
def _drawn_signs(samples: int, pairs: int, seed: int) -> Floats:
    """Random signs, shape (samples, pairs); comparisons of the same number of pairs share them."""
    flips = np.random.default_rng(seed).integers(0, 2, size=(samples, pairs), dtype=np.int8)
    return np.asarray(2.0 * flips - 1.0, dtype=np.float64)


def _sign_patterns(pairs: int) -> Floats:
    """All sign patterns, shape (2^pairs, pairs)."""
    bits = np.arange(2**pairs)[:, None] >> np.arange(pairs)[None, :]
    return np.where(bits & 1, -1.0, 1.0)


def smallest_separable(alpha: float = ALPHA) -> int:
    """Fewest pairs with which the exact two-sided sign-flip test can reach p < alpha: 2 / 2^n < alpha."""
    pairs = 1
    while 2.0 ** (1 - pairs) >= alpha:
        pairs += 1
    return pairs


def bootstrap_interval(
    values: Sequence[float] | Floats, *, level: float = 0.95, samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean; (nan, nan) for fewer than two values."""
    data = np.asarray(values, dtype=np.float64)
    if data.size < 2:
        return math.nan, math.nan
    means = _drawn_counts(samples, data.size, seed) @ data / data.size
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


@lru_cache(maxsize=2)
def _drawn_counts(samples: int, size: int, seed: int) -> Floats:
    """How often each of `size` values is drawn in each sample, shape (samples, size)."""
    draws = np.random.default_rng(seed).integers(0, size, size=(samples, size))
    places = draws + size * np.arange(samples)[:, None]
    return np.bincount(places.ravel(), minlength=samples * size).reshape(samples, size).astype(np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given; they control the chance of any false claim."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for position, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = largest
    return adjusted
