"""What the benchmarks share: where data are, seconds by two clocks, and a ratio over rounds with its spread.

On a machine that does other things, CPU seconds of this process repeat far better than wall seconds; both are kept.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Seconds:
    """Of the wall clock, and of all threads of this process."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Seconds:
        return cls(time.perf_counter(), time.process_time())

    def since(self, earlier: Seconds) -> Seconds:
        return Seconds(self.wall - earlier.wall, self.cpu - earlier.cpu)


def data_words(folder: str | None) -> list[str]:
    """Settings that read a folder of the publishers' files; generated data without one."""
    return ["data=local", f"data.dir={folder}"] if folder else ["data=generated"]


def several(word: str) -> int:
    """How often, for a spread; refused before time is spent where it has none."""
    if not word.isdecimal() or int(word) < 2:
        raise argparse.ArgumentTypeError(f"{word} gives no spread: say 2 or more")
    return int(word)


def timed(action: Callable[[], object]) -> Seconds:
    """Run it once."""
    begun = Seconds.now()
    action()
    return Seconds.now().since(begun)


def spread(ratios: Sequence[float]) -> str:
    """Median and extremes."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def ratios(above: Sequence[Seconds], below: Sequence[Seconds], clock: str) -> list[float]:
    """Quotients of the same round."""
    return [getattr(a, clock) / getattr(b, clock) for a, b in zip(above, below, strict=True)]
