"""What a training phase has used so far, and the watch that measures its time."""

import dataclasses
import json
import time
from pathlib import Path

import torch

from autolora_bench.record import Evaluation, write_atomically


@dataclasses.dataclass
class Meter:
    """Counts of a training phase over all processes; saved in every checkpoint."""

    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    loss_sum: float = 0.0
    """Sum of the optimizer steps' losses since the last evaluation."""
    history: list[Evaluation] = dataclasses.field(default_factory=list)

    def write(self, path: Path) -> None:
        """Save as JSON."""
        write_atomically(path, json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Meter":
        """Load what `write` saved."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values["history"] = [Evaluation(**entry) for entry in values["history"]]
        return cls(**values)


class Stopwatch:
    """Wall-clock and processor seconds of what a device was given to do, from now on.

    An accelerator works on after its commands were given: its time is what passes until it has done them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self._begun, self._cpu_begun = time.perf_counter(), time.process_time()

    def stop(self, wait: bool = True) -> tuple[float, float]:
        """Wall-clock and processor seconds since `start`.

        Args:
            wait: until the device has done what it was given. Without it the next `stop` that waits counts the rest.
        """
        if wait and self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter() - self._begun, time.process_time() - self._cpu_begun
