"""Which differences are more than chance: one declared family of comparisons, one test, one correction.

A claim is that one row differs from another, on one headline score or over several tasks. The claims of a table are
tested together, and the same answer marks the best cell of a column and fills the table of comparisons.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from autolora_bench.config.registry import UNTRAINED
from autolora_bench.report.scoreboard import ALPHA, Claim, Column, Row, of_tasks, pair_named

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made", bound=Claim)

POWER = 0.8
NO_SPREAD = 1e-9
"""Deviation of differences that are equal up to rounding."""
TIED = 1e-9
"""Relative difference of two means that are equal up to rounding."""
EXACT_UNITS = 36
"""Up to so many units all 2^n sign patterns are counted; above, they are sampled."""
SEED = 0
"""Of every draw, so that the same scores give the same figures."""
RESAMPLES = 10_000
"""Of a bootstrap."""
INTERVAL_UNITS = 6
"""Fewer units than this give no interval: a bootstrap of three values is far too narrow. The unit is the test's, the
seed on one task and the task over several: tasks are few, however many seeds each has."""
ALL_ROWS = 15
"""Where no comparison is declared, longer tables compare every row with one reference only."""


def sign_flip_test(differences: Sequence[float] | Floats, *, samples: int = 20_000) -> float:
    """Two-sided p of the hypothesis that each difference could as well have the other sign.

    The statistic is the sum. Exact up to `EXACT_UNITS` differences (p is a multiple of 2^-n); above, a seeded Monte
    Carlo estimate (1 + hits) / (1 + samples), which is never zero. No differences give 1.
    """
    values = np.asarray(differences, dtype=np.float64)
    rounding = 1e-9 * float(np.abs(values).sum())
    reached = abs(float(values.sum())) - rounding
    if reached <= 0:
        return 1.0
    if values.size <= EXACT_UNITS:
        return 2.0 * _patterns_reaching(values, reached) / 2.0**values.size
    signs = 2.0 * np.random.default_rng(SEED).integers(0, 2, size=(samples, values.size), dtype=np.int8) - 1.0
    return float(1 + np.count_nonzero(np.abs(signs @ values) >= reached)) / (1 + samples)


def _patterns_reaching(values: Floats, reached: float) -> int:
    """How many of the 2^n signed sums are at least `reached`: the sums of each half, met in the middle."""
    half = values.size // 2
    left, right = np.sort(_signed_sums(values[:half])), np.sort(_signed_sums(values[half:]))
    below = np.searchsorted(right, reached - left, side="left")
    return left.size * right.size - int(below.sum())


def _signed_sums(values: Floats) -> Floats:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def smallest_separable(alpha: float = ALPHA) -> int:
    """Fewest units with which the exact two-sided sign-flip test can reach p < alpha: 2 / 2^n < alpha."""
    units = 1
    while 2.0 ** (1 - units) >= alpha:
        units += 1
    return units


def detectable_effect(deviation: float, units: int, alpha: float = ALPHA) -> float | None:
    """The smallest true mean difference that the sign-flip test finds at p < alpha in 80 % of repetitions.

    For normal differences with this standard deviation. With the fewest units that can reach alpha all signs must
    agree: Phi(d)^n = 0.8. With more, Guenther's formula for the paired t test, d = (z_{1 - alpha/2} + z_0.8) /
    sqrt(n - z_{1 - alpha/2}^2 / 2), with another 0.5 off n, which is what the few possible values of p cost. Its power
    in simulations is .74 to .81 for alpha from .05 to .05 / 45. None where no effect could be found, and for
    differences that do not vary: two methods that give one class always would seem to be compared without error.

    Args:
        deviation: of the differences.
        units: how many there are.
        alpha: .05, divided by the number of comparisons where it is one of several under Holm's correction: what a
            difference must reach to be found whatever the others are.
    """
    normal, fewest = NormalDist(), smallest_separable(alpha)
    if units < fewest or deviation < NO_SPREAD:
        return None
    if units == fewest:
        return deviation * normal.inv_cdf(POWER ** (1 / fewest))
    critical = normal.inv_cdf(1 - alpha / 2)
    return deviation * (critical + normal.inv_cdf(POWER)) / math.sqrt(units - critical**2 / 2 - 0.5)


def bootstrap_interval(
    groups: Sequence[Sequence[float] | Floats], *, level: float = 0.95
) -> tuple[float, float] | None:
    """Percentile interval of the mean over groups of the mean within each, by a bootstrap of both levels.

    Groups (tasks) are drawn with replacement, then as many values (seeds) within each as it has; one group is the plain
    bootstrap. None for fewer than `INTERVAL_UNITS` groups, or values of a single group.
    """
    sizes = np.array([len(group) for group in groups])
    if (len(groups) if len(groups) > 1 else sizes.sum()) < INTERVAL_UNITS:
        return None
    padded = np.zeros((len(groups), sizes.max()))
    for place, group in enumerate(groups):
        padded[place, : len(group)] = group
    random = np.random.default_rng(SEED)
    drawn = random.integers(0, len(groups), size=(RESAMPLES, len(groups)))
    size = sizes[drawn][:, :, None]
    within = np.floor(random.random((RESAMPLES, len(groups), sizes.max())) * size).astype(np.int64)
    counted = np.arange(sizes.max()) < size
    means = (padded[drawn[:, :, None], within] * counted).sum(axis=2) / size[:, :, 0]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means.mean(axis=1), [tail, 1.0 - tail])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given; they control the chance of any false claim."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for position, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def paired_differences(first: Mapping[Key, float], second: Mapping[Key, float]) -> Floats:
    """Differences first - second over the keys that both have, in the keys' order."""
    keys = sorted(first.keys() & second.keys(), key=repr)
    return np.array([first[key] - second[key] for key in keys], dtype=np.float64)


def claims_of(rows: Sequence[Row], columns: Sequence[Column], compare: Sequence[str]) -> list[Claim]:
    """The family of a table, tested and corrected together.

    Args:
        rows: of the table.
        columns: of the table.
        compare: declared comparisons, `method:other`. Where none is among the rows, every two rows are compared.

    Returns:
        For each two rows that are compared: the claim over the tasks that both have and that can be averaged; one for
        each of these with enough seeds to be tested by itself; and one for each other task with two pairs. Over several
        tasks the task is the unit of the test: the seeds of a task share its data, often their control's draws and
        their start, and say nothing about other tasks.
        Claims with fewer than `smallest_separable` units could never be separated, whatever the scores; they have no p
        and do not count in the correction.
    """
    found = [
        claim
        for first, second in _declared(rows, compare) or _every_two(rows)
        for claim in _claims(rows, first, second, _headlines(columns))
    ]
    return corrected(found)


def corrected(found: Sequence[Made]) -> list[Made]:
    """The claims, tested and corrected together; without a p those that no scores could separate."""
    tested = [claim for claim in found if len(claim.units) >= smallest_separable()]
    p_values = {id(claim): sign_flip_test(claim.units) for claim in tested}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [
        replace(
            claim,
            p=p_values.get(id(claim)),
            adjusted=adjusted.get(id(claim)),
            family=len(tested) or len(found),
        )
        for claim in found
    ]


def _declared(rows: Sequence[Row], compare: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of the rows that the declared comparisons name, each two once."""
    found: dict[frozenset[int], tuple[int, int]] = {}
    for text in compare:
        if pair := pair_named(rows, text):
            found.setdefault(frozenset(pair), pair)
    return [*found.values()]


def _every_two(rows: Sequence[Row]) -> list[tuple[int, int]]:
    trained = [position for position, row in enumerate(rows) if row.method != UNTRAINED]
    if len(trained) <= ALL_ROWS:
        return list(combinations(trained, 2))
    reference = next((p for p in trained if rows[p].runs[0].family == "autolora"), trained[0])
    return [(reference, position) for position in trained if position != reference]


def _headlines(columns: Sequence[Column]) -> list[Column]:
    """Headline columns of one epoch."""
    chosen = of_tasks([column for column in columns if column.headline])
    epoch = next((column.epoch for column in chosen if column.epoch != "kept"), "kept")
    return [column for column in chosen if column.epoch in (epoch, "kept")]


def _claims(rows: Sequence[Row], first: int, second: int, columns: Sequence[Column]) -> list[Claim]:
    differences = {}
    for column in columns:
        sign = 1.0 if column.metric.higher_is_better else -1.0
        pairs = (rows[first].cells[column].pairs, rows[second].cells[column].pairs)
        if (found := sign * paired_differences(*pairs)).size:
            differences[column] = tuple(found.tolist())
    shared = {
        column: values for column, values in differences.items() if column.metric.published_scale == 100.0
    }
    averaged = shared if len(shared) > 1 else {}
    alone = [
        Claim(first, second, (column,), (values,))
        for column, values in differences.items()
        if len(values) >= (smallest_separable() if column in averaged else 2)
    ]
    return [Claim(first, second, tuple(averaged), tuple(averaged.values())), *alone] if averaged else alone


def separated(rows: Sequence[Row], columns: Sequence[Column], claims: Sequence[Claim]) -> dict[Column, int]:
    """Column -> position of the row that is best there and, by the claims, separated from the second best.

    Where several rows are second, from each of them; where several are best, none is marked. Only headline scores of
    one epoch and their average are claimed of; no cell of another column is marked.
    """
    answers = {(claim.first, claim.second, claim.columns): claim for claim in claims}
    headlines = _headlines(columns)
    found = {}
    for column in columns:
        if column.is_average and column.epoch in {one.epoch for one in headlines}:
            parts = tuple(headlines)
        elif column in headlines:
            parts = (column,)
        else:
            continue
        best, seconds = _best_and_next(rows, column)
        ahead = [
            any(
                claim is not None and claim.separated and sign * claim.mean > 0
                for claim, sign in (
                    (answers.get((best, second, parts)), 1.0),
                    (answers.get((second, best, parts)), -1.0),
                )
            )
            for second in seconds
        ]
        if ahead and all(ahead):
            found[column] = best
    return found


def _best_and_next(rows: Sequence[Row], column: Column) -> tuple[int, list[int]]:
    """Positions of the best row and of all whose mean is the second best; none where the best is tied."""
    sign = 1.0 if column.metric.higher_is_better else -1.0
    cells = [row.cells[column] for row in rows]
    means = {place: sign * cell.mean for place, cell in enumerate(cells) if cell.mean is not None}
    order = sorted(means, key=lambda place: -means[place])
    if len(order) < 2 or math.isclose(means[order[0]], means[order[1]], rel_tol=TIED):
        return -1, []
    best, second, *_ = order
    return best, [place for place in order[1:] if math.isclose(means[place], means[second], rel_tol=TIED)]
