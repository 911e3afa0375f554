"""What the search leaves on disk: the trajectory of alpha, and in every checkpoint a copy of it with the selection.

L layers, K components.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from autolora_bench.errors import UserError
from autolora_bench.search.selection import Selection

SELECTION_FILE = "selection.safetensors"
TRAJECTORY = "trajectory.jsonl"
"""Its copy in a checkpoint."""


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
