"""When Python's garbage collector is kept from looking: it walks all objects, and most of ours stay to the end."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No collection inside: for work that makes a million small objects and hardly a cycle. Memory that no cycle holds
    is freed as ever."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@contextmanager
def for_good(module: str) -> Iterator[None]:
    """The first import of a module and all that it brings in: half a million objects that stay to the end.

    The garbage collector is kept off them and whatever else is alive by then: it would look through them while they
    come, and again with every training.
    """
    if module in sys.modules:
        yield
        return
    gc.collect()
    with uncollected():
        yield
        gc.freeze()
