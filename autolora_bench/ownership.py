"""Who is running a cell: a lock file in its folder that names a process, which can be asked whether it still lives.

filelock's soft lock (4.2.11) does the same on a local disk. On NFS and SMB, which exchange no two names at once, it
never takes over the lock of a killed run; a killed process that nobody reaped keeps it; and whoever cannot write the
folder is not told that its owner is gone. Clusters have all three.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from autolora_bench.errors import UserError
from autolora_bench.processes import is_main, on_main

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks
    fcntl = None  # type: ignore[assignment]

LOCK = "run.lock"
LARGEST = 4096
"""Bytes; a larger file is no lock of ours."""
WAITING_SECONDS = 1.0


class BusyError(UserError):
    """Another process is running the cell."""


@dataclass(frozen=True)
class Owner:
    """A process, named so that another one with the same number is not mistaken for it."""

    host: str
    pid: int
    started: str
    """When the process began, in the words of its operating system; empty where that is not told."""
    since: str
    """When it took the lock; only shown."""
    space: str = ""
    """Its namespace of process numbers on Linux: in another one, as in a container, it cannot be asked."""

    @classmethod
    def here(cls) -> "Owner":
        """This process."""
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(platform.node(), os.getpid(), _started(os.getpid()) or "", moment, _space())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    def may_live(self) -> bool:
        """False only where the process is known to be gone; one on another host or in a container cannot be asked."""
        if self.host != platform.node():
            return True
        if (
            self.space not in ("", _space())
            and self.started.split()[:1] == (_started(os.getpid()) or "").split()[:1]
        ):
            return True
        return self.started == "" or _started(self.pid) in (self.started, None)


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
    on_main(lambda: _wait_for(folder) if wait else _take(folder))
    try:
        yield
    finally:
        if is_main():
            (folder / LOCK).unlink(missing_ok=True)


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


def _wait_for(folder: Path) -> None:
    while True:
        wait_until_free(folder)
        with suppress(BusyError):
            return _take(folder)


def _take(folder: Path) -> None:
    with _locked(folder) as handle:
        other = owner_of(folder)
        if other is not None:
            raise BusyError(
                f"{folder} is being run by {other}: skipped",
                f"if that process is gone, delete {folder / LOCK}",
            )
        os.truncate(handle, 0)
        os.write(handle, json.dumps(asdict(Owner.here())).encode())
        os.fsync(handle)


def owner_of(folder: Path) -> Owner | None:
    """The process that holds the lock, unless it is known to be gone."""
    owner = _read(folder / LOCK)
    return owner if owner is not None and owner.may_live() else None


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """The open lock file, while no other process looks at it or changes it."""
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not a file, so that it cannot be a lock", "remove it")
        handle = _open(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}", "choose another folder with results=DIR"
        ) from error
    try:
        yield handle
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is None:
            return handle
        fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            return handle
        os.close(handle)


def _read(path: Path) -> Owner | None:
    """The owner that a lock names; None where there is no lock, or one that was torn or never was a lock."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        owner = Owner(**values)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = (owner.host, owner.started, owner.since, owner.space)
    good = type(owner.pid) is int and all(isinstance(t, str) and t.isprintable() for t in texts)
    return owner if good else None


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Start of a process, with the boot it belongs to; empty where none of that number runs, None where that cannot be
    told."""
    if not Path("/proc/self/stat").exists():
        return _started_elsewhere(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return "" if fields[0] == "Z" else f"{boot} {fields[19]}"


def _started_elsewhere(pid: int) -> str | None:
    """As `_started`, on a system that is not Linux."""
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:  # or one that is gone and was not reaped
        return ""
    except psutil.Error:
        return None
