"""What stops a training phase rather than spoil it: a loss that is no number, a checkpoint that cannot be written."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor

from autolora_bench.errors import UserError
from autolora_bench.run_files import CHECKPOINT, clear

NEVER = 2**62


class DivergenceError(UserError):
    """A training loss was NaN or infinite."""

    def __init__(self, step: int, epoch: int, batch: int) -> None:
        super().__init__(
            f"the loss is NaN or infinite in optimizer step {step}, batch {batch} of epoch {epoch}",
            "lower the learning rate; the last checkpoint, from before that step, is kept",
        )


class LossWatch:
    """Remembers the first optimizer step whose loss was not finite, without waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        self.first = torch.tensor(NEVER, device=device)

    def note(self, loss: Tensor, step: int) -> None:
        """Take a micro-batch's loss (scalar) in optimizer step `step`, counted from 1."""
        bad = torch.where(torch.isfinite(loss.detach()), NEVER, step)
        self.first = torch.minimum(self.first, bad)

    def first_bad(self, processes: int = 1) -> int | None:
        """That step of any of the processes, if there was one; waits for the device."""
        if processes > 1:
            dist.all_reduce(self.first, op=dist.ReduceOp.MIN)
        step = int(self.first)
        return step if step < NEVER else None


@contextmanager
def whole_or_removed(checkpoint: Path) -> Iterator[None]:
    """A checkpoint that cannot be written is removed. Raises UserError with the reason."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        with suppress(OSError):
            clear(checkpoint, CHECKPOINT)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(
            f"cannot write {checkpoint}: {reason}",
            "free some space or choose another folder with results=DIR; the same command goes on from here",
        ) from error
