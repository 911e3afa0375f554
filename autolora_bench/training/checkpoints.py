"""Checkpoints of a training phase: which one is whole, when one is due."""

import re
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

WHOLE = "WHOLE"
"""File written last: a checkpoint without it was cut off in the middle of writing."""


def last_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that was written to its end."""
    found = [path for path in folder.glob("checkpoint-*") if (path / WHOLE).is_file()]
    return max(found, key=_step, default=None)


def remove_checkpoints(folder: Path) -> None:
    """Delete every checkpoint of a phase that is complete."""
    shutil.rmtree(folder, ignore_errors=True)


def _step(path: Path) -> int:
    return int(re.sub(r"\D", "", path.name) or 0)


class CheckpointPolicy(TrainerCallback):
    """Marks whole checkpoints and asks for one when the last is older than `minutes`."""

    def __init__(self, minutes: float) -> None:
        self.seconds = minutes * 60
        self.last = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Ask for a checkpoint when one is due."""
        if time.monotonic() - self.last >= self.seconds:
            control.should_save = True
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Mark the checkpoint as whole."""
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / WHOLE).touch()
        self.last = time.monotonic()
        return control
