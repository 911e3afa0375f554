"""autolora-bench: honest, fast, reproducible benchmarking of low-rank fine-tuning."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

__version__ = "0.1.0"


def load_results(*folders: str | Path) -> "pandas.DataFrame":
    """Every score of every completed run below the folders, as a pandas frame: a line per run, split, metric and epoch.

    Columns: task, model, method, title (of its row in a report), settings (that tell its rows apart), config_id, seed,
    state, parameters, trainable, split, metric, epoch (best, last or kept), value (in the unit that papers print), and
    what the run cost: wall, search, train, total and cpu (seconds), tokens, flops, peak_search, peak_train and peak
    (bytes), and hardware.

    Raises:
        UserError: a folder does not exist.
    """
    from autolora_bench.report.frames import load_results as load

    return load(*folders)
