"""An inner loop that a checkpoint falls into: the steps that it has behind it, for the run that goes on with it.

Every process of a run keeps its own: batches and masks are not the same in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autolora_bench.errors import UserError
from autolora_bench.search.hypergradient.jacobian import Memory, OptimizerStep
from autolora_bench.search.hypergradient.step import PastStep, RandomState, TrainingPass


def save_past(past: Sequence[PastStep], folder: Path, process: int) -> None:
    """Write them into a checkpoint: tensors, numbers, lists and dictionaries, which load without running any code."""
    torch.save([_written(step) for step in past], folder / _name(process))


def load_past(folder: Path | None, process: int, device: torch.device) -> list[PastStep]:
    """Read them back; none where the checkpoint has none.

    Raises:
        UserError: the file cannot be read.
    """
    if folder is None or not (folder / _name(process)).is_file():
        return []
    path = folder / _name(process)
    try:
        return [_read(step, device) for step in torch.load(path, map_location="cpu", weights_only=True)]
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f"{path} cannot be read: {error}", "resume from another checkpoint") from error


def _name(process: int) -> str:
    return f"inner_loop_{process}.pt"


def _written(step: PastStep) -> dict[str, Any]:
    taken = {f.name: getattr(step.taken, f.name) for f in fields(OptimizerStep)}
    taken["memories"] = [(m.keep, m.gain, m.reach) for m in step.taken.memories]
    passes = [
        {"batch": _plain(done.batch), "cpu": done.random.cpu, "cuda": done.random.cuda}
        for done in step.passes
    ]
    return {"taken": taken, "before": step.before, "passes": passes}


def _read(found: dict[str, Any], device: torch.device) -> PastStep:
    stored = {name: _on(value, device) for name, value in found["taken"].items()}
    memories = tuple(Memory(keep, gain, reach) for keep, gain, reach in stored.pop("memories"))
    taken = OptimizerStep(**stored, memories=memories)
    passes = [
        TrainingPass(_on(done["batch"], device), RandomState(done["cpu"], done["cuda"], device))
        for done in found["passes"]
    ]
    return PastStep(taken, _on(found["before"], device), passes)


def _plain(batch: Any) -> Any:
    """A batch without classes of its own."""
    if hasattr(batch, "items"):
        return {name: _plain(value) for name, value in batch.items()}
    return type(batch)(_plain(part) for part in batch) if isinstance(batch, list | tuple) else batch


def _on(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _on(part, device) for name, part in value.items()}
    return type(value)(_on(part, device) for part in value) if isinstance(value, list | tuple) else value
