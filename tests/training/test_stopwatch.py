"""The time of a training is that of the device's work, not of the commands that were given to it."""

from types import SimpleNamespace

import pytest
import torch

from autolora_bench.training import counting
from autolora_bench.training.counting import Meter, Stopwatch
from autolora_bench.training.trainer import _Timing


class Accelerator:
    """A clock, and a device that works off one command after another while the host goes on."""

    def __init__(self) -> None:
        self.now = self.done = 0.0
        self.waits = 0

    def command(self, giving: float, working: float) -> None:
        self.done = max(self.now, self.done) + working
        self.now += giving

    def synchronize(self, device: torch.device) -> None:
        assert device.type == "cuda"
        self.waits += 1
        self.now = max(self.now, self.done)


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Accelerator:
    found = Accelerator()
    monkeypatch.setattr(
        counting, "time", SimpleNamespace(perf_counter=lambda: found.now, process_time=lambda: found.now)
    )
    monkeypatch.setattr(torch.accelerator, "synchronize", found.synchronize)
    return found


def train(accelerator: Accelerator, device: str, steps: int, logging_steps: int) -> float:
    """Seconds that an epoch of steps counts: 1 to give a step's commands, 5 to do them, 2 between two to read data."""
    looked = []
    trainer = SimpleNamespace(
        args=SimpleNamespace(device=torch.device(device)),
        meter=Meter(),
        check_loss=lambda: looked.append(accelerator.now),
    )
    timing = _Timing(trainer)
    args, control = SimpleNamespace(device=torch.device(device), logging_steps=logging_steps), None
    for step in range(1, steps + 1):
        accelerator.now += 2
        timing.on_step_begin(args, SimpleNamespace(global_step=step), control)
        accelerator.command(giving=1, working=5)
        timing.on_step_end(args, SimpleNamespace(global_step=step), control)
    timing.on_epoch_end(args, SimpleNamespace(global_step=steps), control)
    assert len(looked) == (steps if device == "cpu" else steps // logging_steps)
    return trainer.meter.seconds


@pytest.mark.parametrize("steps", [4, 5, 7])
def test_what_a_device_has_not_done_yet_is_counted(accelerator: Accelerator, steps: int) -> None:
    """A device that is never idle while the host reads data: its work, less what it did meanwhile."""
    seconds = train(accelerator, "cuda", steps, logging_steps=100)
    assert accelerator.waits == 1
    assert seconds == 5 * steps - 2 * (steps - 1)
    assert accelerator.now == accelerator.done


def test_with_a_look_at_every_step_it_is_all_of_the_work(accelerator: Accelerator) -> None:
    assert train(accelerator, "cuda", 6, logging_steps=1) == 30


def test_a_cpu_is_not_waited_for(accelerator: Accelerator) -> None:
    assert train(accelerator, "cpu", 6, logging_steps=2) == 6
    assert accelerator.waits == 0


def test_a_watch_can_go_on_without_waiting(accelerator: Accelerator) -> None:
    watch = Stopwatch(torch.device("cuda"))
    accelerator.command(giving=1, working=9)
    assert watch.stop(wait=False) == (1, 1)
    assert watch.stop() == (9, 9)
    watch.start()
    assert watch.stop() == (0, 0)
