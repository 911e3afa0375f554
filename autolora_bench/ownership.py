"""Who is running a cell: a lock file in its folder that names its process, held by filelock.

`filelock.SoftFileLock` takes over the lock of a process that is known to be gone, also where its number was given to
another process since, and believes those to live that it cannot ask: on another host, or in a container.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from autolora_bench.errors import UserError
from autolora_bench.processes import is_main, on_main

if TYPE_CHECKING:
    from filelock import SoftFileLock

LOCK = "run.lock"
WAITING_SECONDS = 1.0
PATIENCE = 0.2
"""Seconds for which a run tries to take its lock: `owner_of` holds one of a dead process for an instant."""
WATCHING_SECONDS = 3.0
"""The same for a lock that names nobody, which filelock watches for two seconds before it takes it over."""


class BusyError(UserError):
    """Another process is running the cell."""


@dataclass(frozen=True)
class Owner:
    """The process that a lock names."""

    host: str
    pid: int | None
    """None where the lock is empty: its disk was full, or the machine lost power."""
    since: str
    """When it took the lock."""

    def __str__(self) -> str:
        process = (
            "a process that left no number" if self.pid is None else f"process {self.pid} on {self.host}"
        )
        return f"{process} since {self.since}"


@contextmanager
def owned(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a run's folder, once for all its processes; that of a dead process is taken over.

    Args:
        folder: the run's folder.
        wait: until a process that holds it has let go, as where its result is needed to go on.

    Raises:
        BusyError: a process that may still live holds it, and `wait` is false.
        UserError: the folder cannot be written.
    """
    lock = _lock(folder)
    on_main(lambda: _wait_for(lock, folder) if wait else _take(lock, folder))
    try:
        yield
    finally:
        if is_main():
            lock.release()


def wait_until_free(folder: Path) -> None:
    """Return when no process that may still live holds the lock."""
    told = False
    while (other := owner_of(folder)) is not None:
        if not told:
            print(
                f"{folder} is being run by {other}: waiting (if that process is gone, delete {folder / LOCK})",
                file=sys.stderr,
                flush=True,
            )
        told = True
        time.sleep(WAITING_SECONDS)


def owner_of(folder: Path) -> Owner | None:
    """The process that holds the lock, unless it is known to be gone: then its lock is removed.

    Where the folder cannot be written, so that this cannot be found out, the process is believed to live.
    """
    if not (folder / LOCK).is_file():
        return None
    from filelock import Timeout

    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return _owner(lock)
    lock.release()
    return None


def _lock(folder: Path) -> "SoftFileLock":
    from filelock import SoftFileLock

    return SoftFileLock(folder / LOCK, thread_local=False)


def _wait_for(lock: "SoftFileLock", folder: Path) -> None:
    while True:
        wait_until_free(folder)
        with suppress(BusyError):
            return _take(lock, folder)


def _take(lock: "SoftFileLock", folder: Path) -> None:
    from filelock import Timeout

    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a file, so that it cannot be a lock", "remove it")
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            if _owner(lock) is not None:
                raise
            lock.acquire(timeout=WATCHING_SECONDS)
    except Timeout:
        raise BusyError(
            f"{folder} is being run by {_owner(lock) or 'another process'}: skipped",
            f"if that process is gone, delete {path}",
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}", "choose another folder with results=DIR"
        ) from error


def _owner(lock: "SoftFileLock") -> Owner | None:
    """The owner that a lock names; None where there is no lock, or one that never was a lock."""
    try:
        pid, status = lock.pid, os.stat(lock.lock_file)
        since = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")
        if pid is None:
            return None if status.st_size else Owner("", None, since)
        host = Path(lock.lock_file).read_text(encoding="utf-8").splitlines()[1]
    except (OSError, ValueError, IndexError, OverflowError):
        return None
    return Owner(host.partition("?")[0], pid, since)
