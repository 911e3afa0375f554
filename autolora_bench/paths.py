"""Where things lie: configuration, results, cache."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

RECORD = "run.json"
EXAMPLES = ".examples.jsonl"
"""Ending of the file in a run's folder `evaluate` with the examples of a split and what was predicted."""
LEFT_SECONDS = 86_400


def conf_dir() -> Path:
    """The configuration folder."""
    return _shipped("conf")


def results_dir() -> Path:
    """The folder of published values."""
    return _shipped("results")


def _shipped(name: str) -> Path:
    """The copy inside an installed package, else the folder of the checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / name
    return shipped if shipped.is_dir() else package.parent / name


def cache_dir() -> Path:
    """Folder of fetched weights and tokenised data: AUTOLORA_BENCH_CACHE, else the user's cache folder."""
    chosen = os.environ.get("AUTOLORA_BENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "autolora-bench"


def remove_leftovers(folder: Path) -> None:
    """Delete the hidden folders that writers which were killed left in a folder of the cache a day ago or earlier."""
    for path in folder.glob(".*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def relative_folder(task: str, model: str, method: str, config: str, seed: int) -> Path:
    """`<task>/<model>/<method>-<config_id>/seed<k>`."""
    return Path(task, model, f"{method}-{config}", f"seed{seed}")
