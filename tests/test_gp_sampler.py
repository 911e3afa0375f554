"""The Gaussian-process sampler: it finds what random search does not, and asks for the same trials again."""

from typing import Any

import numpy as np
import pytest

optuna = pytest.importorskip("optuna")

from autolora_bench import cli  # noqa: E402
from autolora_bench.gp_sampler import GaussianProcessSampler, expected_improvement  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)


def rate(trial: Any) -> float:
    """Like a score against a learning rate: best at 3e-3, and 1 worse a factor of ten away."""
    found = trial.suggest_float("rate", 1e-6, 1e-1, log=True)
    return float(np.log10(found / 3e-3) ** 2)


def study(sampler: Any, trials: int, objective: Any = rate, direction: str = "minimize") -> Any:
    found = optuna.create_study(sampler=sampler, direction=direction)
    found.optimize(objective, n_trials=trials)
    return found


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("seed", range(3))
def test_the_best_rate_is_found_in_few_trials(seed: int) -> None:
    ours = study(GaussianProcessSampler(seed, n_startup_trials=4), 10)
    assert ours.best_value < 0.02
    up = study(GaussianProcessSampler(seed, n_startup_trials=4), 10, lambda t: -rate(t), "maximize")
    assert [t.params for t in up.trials] == [t.params for t in ours.trials]
    random = study(optuna.samplers.RandomSampler(seed=seed), 10)
    assert [t.params["rate"] for t in ours.trials[:4]] == [t.params["rate"] for t in random.trials[:4]]
    assert ours.best_value < random.best_value


def test_whole_numbers_words_and_failed_trials() -> None:
    def objective(trial: Any) -> float:
        rank = trial.suggest_int("rank", 1, 64, log=True)
        layers = trial.suggest_int("layers", 1, 12)
        trial.suggest_categorical("schedule", ["linear", "constant"])
        if trial.number == 2:
            raise optuna.TrialPruned
        return float(np.log2(rank / 8) ** 2 + (layers - 9) ** 2)

    found = study(GaussianProcessSampler(0, n_startup_trials=5), 20, objective)
    assert abs(found.best_params["layers"] - 9) <= 1
    assert 4 <= found.best_params["rank"] <= 16
    assert all(isinstance(t.params["rank"], int) for t in found.trials)


def test_no_whole_number_is_asked_for_again_while_another_is_left() -> None:
    def objective(trial: Any) -> float:
        return float(abs(trial.suggest_int("rank", 1, 5) - 2))

    found = study(GaussianProcessSampler(0, n_startup_trials=2), 2, objective)
    drawn = {trial.params["rank"] for trial in found.trials}
    found.optimize(objective, n_trials=1)
    begun = [found.ask().suggest_int("rank", 1, 5) for _ in range(4 - len(drawn))]  # as by several workers
    assert {*begun, *(trial.params["rank"] for trial in found.trials)} == {1, 2, 3, 4, 5}
    assert 1 <= found.ask().suggest_int("rank", 1, 5) <= 5


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.sample(keep=("0",))
def test_where_trials_fail_others_are_not_asked_for(seed: int) -> None:
    """A score that rises with the rate until training diverges: the best is next to what fails."""

    def failing(trial: Any) -> float:
        found = float(np.log10(trial.suggest_float("rate", 1e-6, 1e-1, log=True)))
        if found > -2.5:
            raise ArithmeticError  # as a run that diverged
        return found

    found = optuna.create_study(
        sampler=GaussianProcessSampler(seed, n_startup_trials=4), direction="maximize"
    )
    found.optimize(failing, n_trials=18, catch=(ArithmeticError,))
    lost = [trial.state is optuna.trial.TrialState.FAIL for trial in found.trials]
    assert any(lost)
    assert sum(lost) < 9
    assert found.best_value > -3.1


def test_improvement_is_expected_near_the_best_and_not_where_it_was_tried() -> None:
    """Where it was tried nothing is expected, and near the best more than far from it."""
    tried, values = np.array([[0.1], [0.5], [0.9]]), np.array([0.0, 1.0, 0.2])
    at = np.array([[0.1], [0.5], [0.45], [0.3]])
    found = expected_improvement(tried, values, at, 0)
    assert (found >= 0).all()
    assert found[0] < 0.05
    assert found[2] > found[0]
    assert found[2] > found[3]


def test_the_tuning_suite_takes_it_by_name(tiny_encoder: Any, tmp_path: Any, capsys: Any) -> None:
    words = [
        "suite=tune",
        "task=sst2",
        "model=any",
        "data=generated",
        "data.limit=16",
        "~recipe",
        "device=cpu",
    ]
    words += ["data.limit_evaluation=8", "train.epochs=1", "train.batch_size=8", "method=bitfit"]
    words += [
        "hydra/sweeper/sampler=gp",
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.sampler.n_startup_trials=1",
    ]
    assert cli.run([*words, f"model.checkpoint={tiny_encoder}", f"results={tmp_path}"]) == 0
    assert "(2 completed)" in capsys.readouterr().out
