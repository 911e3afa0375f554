"""Where things lie: configuration, results, cache."""

import os
from pathlib import Path

from autolora_bench.config.experiment import ExperimentConfig, config_id

RECORD = "run.json"


def conf_dir() -> Path:
    """The configuration folder: the copy inside an installed package, else the one of the checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parent / "conf"


def cache_dir() -> Path:
    """Folder of fetched weights and tokenised data: AUTOLORA_BENCH_CACHE, else the user's cache folder."""
    chosen = os.environ.get("AUTOLORA_BENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "autolora-bench"


def run_folder(experiment: ExperimentConfig) -> Path:
    """Where this cell's run lies below its results folder: the same for a single run and a sweep."""
    e = experiment
    return Path(e.results).expanduser() / relative_folder(
        e.task.name, e.model.name, e.method.name, config_id(e), e.seed
    )


def relative_folder(task: str, model: str, method: str, config: str, seed: int) -> Path:
    """`<task>/<model>/<method>-<config_id>/seed<k>`."""
    return Path(task, model, f"{method}-{config}", f"seed{seed}")
