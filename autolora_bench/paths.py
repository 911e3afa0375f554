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
    """`<results>/<task>/<model>/<method>-<config_id>/seed<k>`: the same for a single run and a sweep."""
    cell = f"{experiment.method.name}-{config_id(experiment)}"
    root = Path(experiment.results).expanduser()
    return root / experiment.task.name / experiment.model.name / cell / f"seed{experiment.seed}"
