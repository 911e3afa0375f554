"""What a training phase has used so far."""

import dataclasses
import json
from pathlib import Path

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
