"""What a training phase does when memory runs out: the same batch per optimizer step in smaller micro-batches."""

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from autolora_bench.config.train import TrainConfig
from autolora_bench.errors import UserError
from autolora_bench.processes import world_size
from autolora_bench.record import write_atomically

T = TypeVar("T")
NEEDED = "accumulation.json"
MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")
"""How torch's allocators say it where they raise a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of whatever device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error).lower() for text in MESSAGES)
    )


def with_less_memory(
    folder: Path, train: TrainConfig, run: Callable[[TrainConfig], T]
) -> tuple[T, dict[str, Any]]:
    """Call `run`; as often as memory runs out, again with twice the accumulation.

    Args:
        folder: the phase's, which keeps the accumulation that was needed: a phase that is resumed begins with it.
        train: the phase's settings, to begin with.
        run: does the phase with the given settings, from a fresh model or its last checkpoint.

    Returns:
        What `run` returned, and what the record says of it: nothing, or the accumulation that was needed.

    Raises:
        UserError: memory runs out however small the micro-batch.
    """
    wanted, needed = train.accumulation, folder / NEEDED
    if needed.is_file():
        train = replace(train, accumulation=json.loads(needed.read_text(encoding="utf-8")))
    while True:
        try:
            found = run(train)
            changed = {"asked": wanted, "used": train.accumulation}
            return found, {"accumulation": changed} if train.accumulation != wanted else {}
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            train = _halved(train, error)
            write_atomically(needed, f"{train.accumulation}\n")
        _release()


def _halved(train: TrainConfig, error: BaseException) -> TrainConfig:
    more, batch_size = 2 * train.accumulation, train.batch_size
    if world_size() > 1 or batch_size % (more * world_size()):
        raise UserError(
            f"out of memory with micro-batches of {batch_size // (train.accumulation * world_size())} examples",
            "raise train.accumulation, or use a smaller train.batch_size, task.max_length or model",
        ) from error
    return replace(train, accumulation=more)


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
