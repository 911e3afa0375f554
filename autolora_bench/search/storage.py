"""What the search leaves on disk: the trajectory of alpha, and in every checkpoint a copy of it with the selection.

Where a checkpoint falls into an inner loop, it also holds the steps that the loop has behind it, for the run that goes
on with it. Every process of a run keeps its own: batches and masks are not the same in all.

L layers, K components.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from autolora_bench.errors import UserError, require
from autolora_bench.search.hypergradient.jacobian import Memory, OptimizerStep
from autolora_bench.search.hypergradient.step import PastStep, RandomState, TrainingPass
from autolora_bench.search.selection import Selection

SELECTION_FILE = "selection.safetensors"
TRAJECTORY = "trajectory.jsonl"
"""Its copy in a checkpoint."""
BATCH = 3
"""Inputs, count of labels and the step's micro-batches: what a pass is repeated with."""


def save_selection(selection: Selection, folder: str | Path) -> None:
    """Write beta (L, K) with the layers' names and the constraint as metadata."""
    metadata = {"modules": json.dumps(selection.modules_selected), "constraint": selection.constraint.value}
    beta = selection.beta.detach().cpu().contiguous()
    save_file({"beta": beta}, str(Path(folder) / SELECTION_FILE), metadata=metadata)


def load_selection(selection: Selection, folder: str | Path) -> None:
    """Read beta back into `selection`.

    Raises:
        UserError: no readable file, or one of another selection.
    """
    path = Path(folder) / SELECTION_FILE
    mend = "resume from a checkpoint of the same search"
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            beta: Tensor = file.get_tensor("beta")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}", mend) from error
    same = metadata.get("modules") == json.dumps(selection.modules_selected)
    if not same or metadata.get("constraint") != selection.constraint or beta.shape != selection.beta.shape:
        raise UserError(f"{path} holds the selection variables of other layers or another constraint", mend)
    selection.beta.data.copy_(beta)
    selection.refresh()


class Trajectory:
    """Outer variables over time as JSON lines, {"step": s, "alpha": L rows of K numbers}, about `points` of them.

    Args:
        path: the file; appended to on resume, after lines past the resumed step were dropped.
        points: how many lines a whole run writes, besides the first.
        name: of what a line holds.
    """

    def __init__(self, path: str | Path, points: int = 100, name: str = "alpha") -> None:
        self.path = Path(path)
        self.points = points
        self.name = name
        self._every = 1
        self._last = 0

    def begin(self, step: int, last: int) -> None:
        """Start or resume at `step` of `last`; keeps the earlier lines of the run that is resumed."""
        self._every = max(1, last // max(1, self.points))
        self._last = last
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in self._lines() if step and json.loads(line)["step"] <= step]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(kept), encoding="utf-8")
        os.replace(partial, self.path)

    def save(self, folder: str | Path) -> None:
        """Put a copy into a checkpoint, so that nothing but the checkpoint decides what a resumed run goes on with."""
        if self.path.exists():
            shutil.copyfile(self.path, Path(folder) / TRAJECTORY)

    def load(self, folder: str | Path) -> None:
        """Take back what `save` left, if there is any."""
        copy = Path(folder) / TRAJECTORY
        if copy.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(copy, self.path)

    def record(self, step: int, values: Tensor) -> None:
        """Append one line if `step` is due."""
        if step % self._every and step != self._last:
            return
        line = json.dumps({"step": step, self.name: values.detach().cpu().tolist()})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8") as file:
            return [line for line in file if line.endswith("\n")]


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
        past = [_read(step, device) for step in torch.load(path, map_location="cpu", weights_only=True)]
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f"{path} cannot be read: {error}", "resume from another checkpoint") from error
    require(
        all(
            isinstance(done.batch, tuple) and len(done.batch) == BATCH
            for step in past
            for done in step.passes
        ),
        f"{path} was written by an earlier version, which did not keep how many parts a step had",
        f"delete {folder}, and begin anew or from an earlier checkpoint",
    )
    return past


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
