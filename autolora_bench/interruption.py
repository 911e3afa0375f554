"""SIGTERM and Ctrl-C: at once outside of training, after the next checkpoint inside it, at once when asked again."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; `status` is the exit status that shells give to the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int]]:
        return type(self), (self.number,)

    @property
    def status(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


class _Request:
    """What was asked of this process, and whether it may be answered at once."""

    number: int | None = None
    deferred: bool = False


_request = _Request()


@contextmanager
def watched_signals() -> Iterator[None]:
    """Within, SIGINT and SIGTERM raise Interrupted. Outside of the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _answer) for number in SIGNALS}
    _request.number = None
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Within, the first signal is only noted: `stop_requested` tells. One that nobody answered is raised at the end."""
    _request.deferred = True
    try:
        yield
    finally:
        _request.deferred = False
    raise_if_requested()


def stop_requested() -> bool:
    """Whether a signal was noted."""
    return _request.number is not None


def request_stop(number: int) -> None:
    """Note a signal that another process of the run got."""
    _request.number = _request.number or number


def raise_if_requested() -> None:
    """Raises Interrupted if a signal was noted."""
    if _request.number is not None:
        number, _request.number = _request.number, None
        raise Interrupted(number)


def _answer(number: int, frame: FrameType | None) -> None:
    if not _request.deferred or _request.number is not None:
        _request.number = None
        raise Interrupted(number)
    _request.number = number
    print("stopping at the next checkpoint; once more stops at once", file=sys.stderr, flush=True)
