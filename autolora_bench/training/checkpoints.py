"""Checkpoints of a training phase: which one is whole, when one is due, and training that goes on from it."""

import json
import os
import re
import signal
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import TrainOutput

from autolora_bench.checksums import crc32_of, damaged
from autolora_bench.interruption import deferred_signals, raise_if_requested, request_stop, stop_requested
from autolora_bench.processes import on_main
from autolora_bench.record import write_atomically
from autolora_bench.run_files import CHECKPOINT, clear
from autolora_bench.run_files import CHECKPOINTS as LAYOUT

CHECKPOINTS = "checkpoints"
"""Subfolder of a phase's folder for what is of no use once the phase is complete."""
WHOLE = "WHOLE"
"""File written last: of which run the checkpoint is, and the CRC-32 of its files, which are on disk by then."""
KEPT = 2
"""Whole checkpoints that stay while a phase runs: the latest may turn out to be damaged."""


def last_checkpoint(folder: Path, identity: str) -> Path | None:
    """The latest whole checkpoint of the run `identity`; what else is there of checkpoints is removed.

    A checkpoint that was damaged after it had been whole is told.
    """
    whole: list[Path] = []
    spoilt: list[str] = []
    for path in _newest_first(folder):
        problem = _problem(path, identity)
        if problem is None:
            whole.append(path)
        else:
            spoilt += [f"{path} is damaged ({problem})"] if problem else []
            clear(path, CHECKPOINT)
    for line in spoilt:
        onward = f"the run goes on from {whole[0].name}" if whole else "the phase starts again"
        print(f"{line}: {onward}", file=sys.stderr, flush=True)
    return next(iter(whole), None)


def remove_checkpoints(folder: Path) -> None:
    """Delete what a phase that is recorded as complete kept for its resumption."""
    with suppress(OSError):
        clear(folder, LAYOUT)


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was written."""
    return int(re.sub(r"\D", "", checkpoint.name) or 0)


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if LAYOUT.inside(path.name) and path.is_dir()]
    return sorted(found, key=step_of, reverse=True)


def _files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file() and path.name != WHOLE]


def _problem(folder: Path, identity: str) -> str | None:
    """None for a whole checkpoint of this run, else what is damaged; "" where it never was one."""
    if not (folder / WHOLE).is_file():
        return ""
    try:
        mark = json.loads((folder / WHOLE).read_text(encoding="utf-8"))
        files = {str(name): int(checksum) for name, checksum in mark["files"].items()}
        if mark != _mark(mark["run"], files):
            return WHOLE
        if mark["run"] != identity:
            return ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return WHOLE
    strange = sorted(set(files) ^ set(_files(folder)))
    return ", ".join(strange or damaged(folder, files)) or None


def _mark_whole(folder: Path, identity: str) -> None:
    for name in _files(folder):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    mark = _mark(identity, crc32_of(folder, _files(folder)))
    write_atomically(folder / WHOLE, json.dumps(mark))


def _mark(identity: str, files: dict[str, int]) -> dict[str, Any]:
    """The content of WHOLE, with a checksum of its own."""
    content = {"run": identity, "files": files}
    return {**content, "crc32": zlib.crc32(json.dumps(content, sort_keys=True).encode())}


def _remove_older(folder: Path) -> None:
    """Delete all but the latest checkpoints; called when the latest is whole."""
    for path in _newest_first(folder)[KEPT:]:
        with suppress(OSError):
            clear(path, CHECKPOINT)


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
            folder = Path(str(args.output_dir))
            _mark_whole(folder / f"checkpoint-{state.global_step}", self.identity)
            _remove_older(folder)
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


def train_or_resume(trainer: Trainer, identity: str) -> TrainOutput:
    """Train to the end, from the last whole checkpoint of the run `identity` if there is one.

    Each of several processes draws dropout masks of its own.

    Raises:
        Interrupted: SIGTERM or Ctrl-C, once a checkpoint is written.
    """
    checkpoint = on_main(lambda: last_checkpoint(Path(str(trainer.args.output_dir)), identity))
    if trainer.args.world_size > 1:
        dist.barrier()
        if checkpoint is None:
            torch.manual_seed(trainer.args.seed * trainer.args.world_size + trainer.args.process_index)
    with deferred_signals():
        return trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
