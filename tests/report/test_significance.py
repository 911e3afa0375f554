"""Statistics against scipy, closed forms and brute force."""

import itertools

import numpy as np
import pytest
from scipy import stats

from autolora_bench.report.scoreboard import ALPHA
from autolora_bench.report.significance import (
    bootstrap_interval,
    detectable_effect,
    holm,
    paired_differences,
    sign_flip_test,
    smallest_separable,
)

SAMPLES = [
    [0.3, 0.1, 0.4, 0.2, 0.5, 0.1],
    [0.3, -0.1, 0.4, 0.2, -0.5, 0.1, 0.7],
    [1.0, 1.0, 1.0, 1.0],
    [0.0, 0.0, 0.5, -0.2],
    list(np.random.default_rng(1).normal(0.2, 1, 11)),
]


@pytest.mark.parametrize("differences", SAMPLES)
def test_exact_p_equals_scipys_exact_permutation_test(differences: list[float]) -> None:
    expected = stats.permutation_test(
        (np.array(differences),),
        np.sum,
        permutation_type="samples",
        n_resamples=np.inf,
        alternative="two-sided",
    )
    assert sign_flip_test(differences) == pytest.approx(expected.pvalue)


def test_exact_p_equals_brute_force() -> None:
    values = SAMPLES[1]
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=7)
    ]
    expected = np.mean([total >= abs(sum(values)) - 1e-12 for total in sums])
    assert sign_flip_test(values) == pytest.approx(expected)


@pytest.mark.parametrize("pairs", [1, 2, 5, 12, 15])
def test_meeting_in_the_middle_counts_what_enumeration_counts(pairs: int) -> None:
    """Whole numbers, so that many sums tie."""
    random = np.random.default_rng(pairs)
    for _ in range(4):
        values = random.integers(-3, 4, pairs)
        signs = 1 - 2 * ((np.arange(2**pairs)[:, None] >> np.arange(pairs)) & 1)
        expected = np.mean(np.abs(signs @ values) >= abs(values.sum()))
        assert sign_flip_test(values) == expected


def test_thirty_six_pairs_are_counted_not_sampled() -> None:
    """Equal differences: the number of signs that agree is binomial."""
    values = [1.0] * 27 + [-1.0] * 9
    assert sign_flip_test(values) == pytest.approx(2 * stats.binom.sf(26, 36, 0.5), rel=1e-12)


def test_rounding_of_decimal_scores_does_not_break_ties() -> None:
    assert sign_flip_test([0.1, 0.2, 0.3]) == 2 / 8
    assert sign_flip_test([0.1, 0.2, -0.3]) == 1.0


def test_monte_carlo_is_near_the_normal_limit_and_repeats() -> None:
    values = np.random.default_rng(3).normal(0.3, 1, 40)
    z = abs(values.sum()) / np.sqrt((values**2).sum())
    p = sign_flip_test(values)
    assert p == pytest.approx(2 * stats.norm.sf(z), rel=0.2)
    assert p == sign_flip_test(values)


def test_monte_carlo_p_is_never_zero() -> None:
    assert sign_flip_test([1.0] * 60, samples=999) == 1 / 1000


def test_no_pairs_separate_nothing() -> None:
    assert sign_flip_test([]) == 1.0


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.2])
def test_smallest_separable_number_of_pairs_is_reached_by_equal_signs(alpha: float) -> None:
    n = smallest_separable(alpha)
    assert sign_flip_test([1.0] * n) < alpha <= sign_flip_test([1.0] * (n - 1))


def test_bootstrap_agrees_with_scipys_percentile_interval() -> None:
    values = np.random.default_rng(5).normal(70, 2, 30)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert bootstrap_interval([values]) == pytest.approx((expected.low, expected.high), abs=0.08)


def test_bootstrap_over_tasks_then_seeds_has_the_variance_of_both_levels() -> None:
    """Of the mean of T drawn groups of S drawn values: (between / T) + (mean within / (T S)), plug-in variances."""
    random = np.random.default_rng(2)
    groups = random.normal(0, 3, (12, 1)) + random.normal(0, 1, (12, 5))
    low, high = bootstrap_interval(list(groups), level=0.6827) or (0.0, 0.0)
    variance = groups.mean(axis=1).var() / 12 + groups.var(axis=1).mean() / (12 * 5)
    assert (high - low) / 2 == pytest.approx(np.sqrt(variance), rel=0.05)


def test_groups_of_different_size_count_alike() -> None:
    """The bootstrap of their six means."""
    means = [1.0, 1.0, 1.0, 3.0, 3.0, 3.0]
    ends = bootstrap_interval([[1.0] * 9] * 3 + [[3.0]] * 3)
    assert ends == pytest.approx(bootstrap_interval([means]), abs=0.2)


def test_no_interval_under_six_units() -> None:
    """Seeds are the units of one task, tasks those of several, however many seeds each has."""
    assert bootstrap_interval([[1.0, 2.0, 3.0, 4.0, 5.0]]) is None
    assert bootstrap_interval([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]) is not None
    assert bootstrap_interval([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] * 5) is None
    assert bootstrap_interval([[1.0, 2.0]] * 6) is not None


@pytest.mark.parametrize(("tasks", "least", "most"), [(3, 0.0, 0.88), (10, 0.87, 0.93)])
def test_an_interval_over_few_tasks_would_hold_the_mean_too_seldom(
    tasks: int, least: float, most: float
) -> None:
    """Tasks that differ by 1 and seeds by .3: why there is none under six. The truth is 0."""
    random = np.random.default_rng(3)
    held = []
    for _ in range(400):
        groups = random.normal(0, 1, (tasks, 1)) + random.normal(0, 0.3, (tasks, 5))
        drawn = random.integers(0, tasks, (400, tasks))
        low, high = np.quantile(groups.mean(axis=1)[drawn].mean(axis=1), [0.025, 0.975])
        held.append(low <= 0 <= high)
    assert least <= np.mean(held) <= most
    assert (bootstrap_interval([[0.0] * 5] * tasks) is None) == (tasks < 6)


@pytest.mark.parametrize(
    ("units", "comparisons"), [(6, 1), (7, 1), (9, 1), (12, 1), (7, 2), (9, 3), (10, 15), (13, 15)]
)
def test_the_detectable_effect_is_found_in_four_of_five_repetitions(units: int, comparisons: int) -> None:
    """Also where it is one of several comparisons and has to reach what Holm's hardest step asks."""
    alpha = ALPHA / comparisons
    effect = detectable_effect(2.0, units, alpha)
    assert effect is not None
    drawn = np.random.default_rng(units).normal(effect, 2.0, (1500, units))
    assert np.mean([sign_flip_test(values) < alpha for values in drawn]) == pytest.approx(0.8, abs=0.05)
    assert detectable_effect(2.0, smallest_separable(alpha) - 1, alpha) is None


def test_no_effect_is_detectable_with_fewer_units_than_can_be_separated() -> None:
    assert detectable_effect(1.0, 5) is None


@pytest.mark.parametrize(
    "p_values", [[0.01, 0.04, 0.03], [0.5, 0.001, 0.02, 0.02], [0.2], [], [1.0, 1.0, 0.04]]
)
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis' adjusted p is the largest Bonferroni p over all sets of hypotheses that contain it."""
    indices = range(len(p_values))
    sets = [s for size in range(1, len(p_values) + 1) for s in itertools.combinations(indices, size)]
    expected = [max(min(1, len(s) * min(p_values[j] for j in s)) for s in sets if i in s) for i in indices]
    assert holm(p_values) == pytest.approx(expected)


def test_pairs_are_the_common_keys() -> None:
    first = {("rte", 0): 3.0, ("rte", 1): 5.0, ("cola", 0): 1.0}
    second = {("rte", 1): 4.0, ("rte", 0): 1.0, ("mrpc", 0): 9.0}
    assert paired_differences(first, second).tolist() == [2.0, 1.0]


def test_differences_that_do_not_vary_say_nothing_of_power() -> None:
    assert detectable_effect(0.0, 8) is None
    assert detectable_effect(1e-12, 20) is None
    assert detectable_effect(1e-3, 8) is not None
