"""Checkpoints of a training phase: which one is whole, when one is due."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autolora_bench.interruption import raise_if_requested, request_stop, stop_requested
from autolora_bench.processes import is_main
from autolora_bench.record import write_atomically

CHECKPOINTS = "checkpoints"
"""Subfolder of a phase's folder for what is of no use once the phase is complete."""
WHOLE = "WHOLE"
"""File written last: of which run the checkpoint is, and the sizes of its files, which are on disk by then."""


def last_checkpoint(folder: Path, identity: str) -> Path | None:
    """The latest whole checkpoint of the run `identity`; all others in `folder` are deleted."""
    found = [path for path in folder.glob("checkpoint-*") if _is_whole(path, identity)]
    if is_main():
        for path in set(folder.glob("checkpoint-*")) - set(found):
            shutil.rmtree(path, ignore_errors=True)
    return max(found, key=step_of, default=None)


def remove_checkpoints(folder: Path) -> None:
    """Delete what a phase that is recorded as complete kept for its resumption."""
    shutil.rmtree(folder, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was written."""
    return int(re.sub(r"\D", "", checkpoint.name) or 0)


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != WHOLE)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(files)}


def _is_whole(folder: Path, identity: str) -> bool:
    try:
        mark = json.loads((folder / WHOLE).read_text(encoding="utf-8"))
        return bool(mark == {"run": identity, "files": _sizes(folder)})
    except (OSError, ValueError):
        return False


def _mark_whole(folder: Path, identity: str) -> None:
    sizes = _sizes(folder)
    for name in sizes:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    write_atomically(folder / WHOLE, json.dumps({"run": identity, "files": sizes}))


class CheckpointPolicy(TrainerCallback):
    """Marks whole checkpoints, asks for one when the last is older than `minutes` or when the run is to stop.

    Args:
        minutes: longest time between checkpoints.
        identity: of the run; a checkpoint of another is never resumed.
        saved: called when a checkpoint is whole.
    """

    def __init__(self, minutes: float, identity: str = "", saved: Callable[[], None] = lambda: None) -> None:
        self.seconds = minutes * 60
        self.identity = identity
        self.saved = saved
        self.last = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Ask for a checkpoint when one is due. After an epoch's last step it waits for the epoch's evaluation."""
        due = self._agreed(args, time.monotonic() - self.last >= self.seconds)
        evaluated_next = float(state.epoch or 0).is_integer() or state.global_step >= state.max_steps
        if due and not evaluated_next:
            control.should_save = True
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Mark the checkpoint as whole; stop if that was asked for."""
        if args.world_size > 1:
            dist.barrier()
        if state.is_world_process_zero:
            _mark_whole(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}", self.identity)
            self.saved()
        self.last = time.monotonic()
        raise_if_requested()
        return control

    def _agreed(self, args: TrainingArguments, due: bool) -> bool:
        """Whether any process wants a checkpoint now; a signal that one got reaches all."""
        if args.world_size > 1:
            flags = torch.tensor([due, stop_requested()], dtype=torch.int32, device=args.device)
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
            due = bool(flags[0])
            if flags[1]:
                request_stop(signal.SIGTERM)
        return due or stop_requested()
