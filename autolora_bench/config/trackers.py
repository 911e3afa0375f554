"""Experiment trackers that a run can report to: what they need installed, and how their runs are called."""

from importlib.util import find_spec

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.errors import UserError

TRACKERS = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
}
"""Tracker, as train.trackers names it -> the Python package that it is. The extras have the same names."""
SWEEP = "AUTOLORA_BENCH_SWEEP"
"""Environment variable with the name of the sweep that a run is part of; launchers hand it to their processes."""


def run_name(experiment: ExperimentConfig) -> str:
    """Task, method and seed: how a tracker calls a run."""
    return f"{experiment.task.name}/{experiment.method.name}/seed{experiment.seed}"


def check_trackers(experiment: ExperimentConfig) -> None:
    """Raises UserError for the first tracker that is asked for and not installed; imports none."""
    for name in experiment.train.trackers:
        if not _is_installed(TRACKERS[name]):
            raise UserError(
                f"train.trackers names {name}, which is not installed",
                f"pip install 'autolora-bench[{name}]', or leave it out",
            )


def _is_installed(package: str) -> bool:
    """A folder of the same name, such as wandb leaves where it runs, is no package."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
