"""Bayesian optimisation for Optuna: a Gaussian process and expected improvement (Jones et al., 1998).

Optuna has such a sampler from 3.6 on; the version that Hydra's sweeper asks for is 2.10. The process is scikit-learn's.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    IntLogUniformDistribution,
    IntUniformDistribution,
    LogUniformDistribution,
    UniformDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, intersection_search_space
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

NUMBERS = (IntLogUniformDistribution, IntUniformDistribution, LogUniformDistribution, UniformDistribution)
LOGARITHMIC = (IntLogUniformDistribution, LogUniformDistribution)
CANDIDATES = 2048
"""Points at which the expected improvement is computed; the best is tried."""
Points = NDArray[np.float64]


class GaussianProcessSampler(BaseSampler):
    """Numbers of a study by expected improvement; choices among words at random.

    A trial's proposal depends on the seed, its number and what was found before, so that a study that was cut off asks
    for the same trials again.

    Args:
        seed: of the first trials, and of the candidates of the others.
        n_startup_trials: completed trials before the process is asked; until then numbers are drawn at random, those of
            logarithmic ranges on that scale.
    """

    def __init__(self, seed: int | None = None, n_startup_trials: int = 10) -> None:
        self._seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self._startup = max(n_startup_trials, 2)
        self._random = RandomSampler(seed=self._seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The numbers that all completed trials have, single values apart."""
        space: Mapping[str, BaseDistribution] = intersection_search_space(study, ordered_dict=True)
        return {n: d for n, d in space.items() if isinstance(d, NUMBERS) and not d.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Where the expected improvement on the best trial is largest; nothing before there are enough.

        A trial that failed, as one that diverged, counts as the worst that was found: else it would be asked for again.
        What was asked for before, as whole numbers may have been, is asked for again where nothing else is left.
        """
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not search_space or len(done) < self._startup:
            return {}
        sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        known = [t for t in failed if search_space.keys() <= t.params.keys()]
        tried = np.array(
            [[_to_unit(d, t.params[n]) for n, d in search_space.items()] for t in [*done, *known]]
        )
        found = [sign * t.value for t in done if t.value is not None]
        values = np.array([*found, *[min(found)] * len(known)])
        random = np.random.default_rng([self._seed, trial.number])
        candidates = random.random((CANDIDATES, len(search_space)))
        places = np.column_stack(
            [_askable(d, column) for d, column in zip(search_space.values(), candidates.T, strict=True)]
        )
        gain = expected_improvement(tried, values, places, self._seed)
        going = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        asked = [{n: t.params.get(n) for n in search_space} for t in [*done, *known, *going]]
        best_first = [
            {n: _from_unit(d, float(x)) for (n, d), x in zip(search_space.items(), row, strict=True)}
            for row in candidates[np.argsort(-gain, kind="stable")]
        ]
        return next((one for one in best_first if one not in asked), best_first[0])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """At random."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def expected_improvement(tried: Points, values: Points, candidates: Points, seed: int) -> Points:
    """E[max(0, f - best)] at each candidate, under a process with a Matern 5/2 kernel fitted to what was tried.

    Args:
        tried: (T, D) in the unit cube.
        values: (T,) found there; higher is better.
        candidates: (C, D).
        seed: of the restarts of the kernel's fit.

    Returns:
        (C,) in deviations of `values`.
    """
    scaled = (values - values.mean()) / (values.std() or 1.0)
    kernel: Kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(
        np.full(tried.shape[1], 0.3), (0.05, 5.0), nu=2.5
    ) + WhiteKernel(1e-3, (1e-6, 0.3))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=seed).fit(tried, scaled)
    mean, deviation = process.predict(candidates, return_std=True)
    gain, spread = mean - scaled.max(), np.maximum(deviation, 1e-12)
    found: Points = gain * norm.cdf(gain / spread) + spread * norm.pdf(gain / spread)
    return found


def _askable(distribution: Any, places: Points) -> Points:
    """The places of the whole numbers that (C,) places in the unit interval stand for; of other numbers the same."""
    if isinstance(distribution, LogUniformDistribution | UniformDistribution):
        return places
    return np.array([_to_unit(distribution, _from_unit(distribution, float(place))) for place in places])


def _to_unit(distribution: Any, value: float) -> float:
    low, high = _ends(distribution)
    return float((_scaled(distribution, value) - low) / (high - low))


def _from_unit(distribution: Any, place: float) -> float:
    low, high = _ends(distribution)
    value = low + place * (high - low)
    value = float(np.exp(value)) if isinstance(distribution, LOGARITHMIC) else value
    value = float(min(max(value, distribution.low), distribution.high))
    return value if isinstance(distribution, LogUniformDistribution | UniformDistribution) else round(value)


def _ends(distribution: Any) -> tuple[float, float]:
    return _scaled(distribution, distribution.low), _scaled(distribution, distribution.high)


def _scaled(distribution: Any, value: float) -> float:
    return float(np.log(value)) if isinstance(distribution, LOGARITHMIC) else float(value)
