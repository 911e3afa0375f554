"""What the records say as one frame, for a user's own analysis."""

import warnings
from pathlib import Path

import pandas as pd

from autolora_bench.report.arena import is_planted
from autolora_bench.report.collect import collect
from autolora_bench.report.frames import Frames, frames_of
from autolora_bench.report.runs import grouped, runs_of
from autolora_bench.report.tuning import is_tuning, rates_of, tuned_cells


def load_results(*folders: str | Path) -> pd.DataFrame:
    """Every score of every completed run below the folders: a line per run, split, metric and epoch.

    Columns: those of `Frames.runs` without row, held_out (whether the run was scored on held-out training data, as
    tuning runs are), split, metric, epoch, value, those of `RunCost`, hardware and accelerator. Scores are in the unit
    that papers print (accuracy x 100); times are seconds, memory bytes. Titles and settings are those of a report's
    rows. Tuning runs, and runs with planted ranks, which a report shows in tables of another kind, have those that such
    rows of their own would have. Records that cannot be read, or disagree with each other, are warned of.

    Raises:
        UserError: a folder does not exist.
    """
    collection = collect(*map(Path, folders))
    for problem in [*collection.conflicts, *collection.unreadable]:
        warnings.warn(str(problem), RuntimeWarning, stacklevel=2)
    made, _ = runs_of(collection.records, None)
    rates = rates_of(tuned_cells(made))
    kinds = grouped(made, lambda run: (is_tuning(run), is_planted(run)))
    parts = [_joined(frames_of(kinds[kind], rates), kind[0]) for kind in sorted(kinds)]
    return pd.concat(
        [part for part in parts if len(part)] or [_joined(frames_of([]), False)], ignore_index=True
    )


def _joined(frames: Frames, held_out: bool) -> pd.DataFrame:
    scores = frames.scores.drop(columns=["task", "seed"])
    runs = frames.runs.drop(columns="row").assign(held_out=held_out)
    return runs.join(scores.set_index("run"), how="right").join(frames.costs)
