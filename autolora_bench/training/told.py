"""What a tracker whose history only grows has been told of a run, so that a resumed phase tells it nothing twice."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from autolora_bench.record import write_atomically
from autolora_bench.untrusted import parse_json, read_bytes


class Told:
    """The last step of each value, kept in a file.

    A phase that goes on from a checkpoint, or begins again, computes steps that it has told of: these are passed over.

    Args:
        path: the file.
        afresh: whether the tracker knows nothing of the run, whatever the file says.
    """

    def __init__(self, path: Path, afresh: bool = False) -> None:
        self.path = path
        self.last = {} if afresh else self._read()
        self.before: dict[str, int] = {}

    def begin_phase(self) -> None:
        """What has been told up to here was told by an earlier attempt."""
        self.before = dict(self.last)

    def untold(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Those of the values of a step that no earlier attempt told."""
        return {name: value for name, value in values.items() if step > self.before.get(name, -1)}

    def note(self, step: int, names: Iterable[str]) -> None:
        """Values of a step have been told. Raises UserError where the file cannot be written."""
        self.last.update(dict.fromkeys(names, step))
        write_atomically(self.path, json.dumps(self.last) + "\n")

    def _read(self) -> dict[str, int]:
        try:
            found = parse_json(read_bytes(self.path))
        except (OSError, ValueError):
            return {}
        return (
            {name: step for name, step in found.items() if isinstance(step, int)}
            if isinstance(found, dict)
            else {}
        )
