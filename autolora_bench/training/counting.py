"""How many examples, tokens and operations a training phase computes, and what else it has used so far."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from autolora_bench.errors import UserError
from autolora_bench.record import Evaluation, write_atomically
from autolora_bench.speedups.layout import computed_tokens, may_pad_in_front
from autolora_bench.training.weighting import WeightingTrainer


@dataclasses.dataclass
class Meter:
    """Counts of a training phase, since the last `share` of this process alone; saved in every checkpoint."""

    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    loss_sum: float = 0.0
    """Sum of the optimizer steps' losses since the last evaluation."""
    history: list[Evaluation] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._shared: tuple[int, int] = (self.examples, self.tokens)

    def share(self, device: torch.device) -> None:
        """Make of what each process has counted what all have, in one message."""
        counts = torch.tensor(
            [self.examples - self._shared[0], self.tokens - self._shared[1]], dtype=torch.int64, device=device
        )
        dist.all_reduce(counts)
        self.examples, self.tokens = (
            known + int(more) for known, more in zip(self._shared, counts, strict=True)
        )
        self._shared = self.examples, self.tokens

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


DECODED = "decoder_input_ids"
"""What the writing half of an encoder-decoder is taught with."""


class CountingTrainer(WeightingTrainer):
    """Counts what is computed.

    Args:
        padding_free: the model leaves out padding, which is then not counted.

    Raises:
        UserError: `padding_free` or torch.compile, and several devices in one process.
    """

    def __init__(self, *args: Any, padding_free: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.meter = Meter()
        self.padding_free = padding_free
        if padding_free and self.args.n_gpu > 1:
            raise UserError(
                f"train.padding_free=true works on one device per process, and this one has {self.args.n_gpu}",
                "use one GPU (CUDA_VISIBLE_DEVICES=0), or torchrun",
            )

        if self.args.torch_compile:
            torch.backends.cuda.matmul.allow_tf32 = False  # accelerate has switched it on
        if self.args.torch_compile and self.args.n_gpu > 1:
            raise UserError(
                f"train.compile=true works on one device, and this process has {self.args.n_gpu}",
                "use one GPU (CUDA_VISIBLE_DEVICES=0)",
            )

    @property
    def trained(self) -> nn.Module:
        """The model, unwrapped."""
        assert isinstance(self.model, nn.Module)
        return self.model

    def count(self, inputs: dict[str, Any]) -> None:
        """Add one micro-batch to the meter."""
        self.meter.examples += inputs["input_ids"].shape[0]
        self.meter.tokens += self._tokens(inputs)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Of a forward and backward pass over the tokens that are computed, as transformers estimates them; each token
        of an encoder-decoder passes through one of its halves."""
        of_one: int = super().floating_point_ops(inputs) // inputs["input_ids"].numel()
        return of_one * self._tokens(inputs) // (2 if DECODED in inputs else 1)

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        super()._track_num_input_tokens(inputs)  # type: ignore[no-untyped-call]
        self.count(inputs)

    def _tokens(self, inputs: dict[str, Any]) -> int:
        padded: int = inputs["input_ids"].numel()
        if DECODED in inputs:
            padded += inputs[DECODED].numel()
        if not self.padding_free:
            return padded
        return computed_tokens(inputs["attention_mask"], may_pad_in_front(self.trained))
