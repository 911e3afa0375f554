"""Who is running a cell: a lock file in its folder that names a process, which can be asked whether it still lives."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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


class BusyError(UserError):
    """Another process is running the cell."""


@dataclass(frozen=True)
class Owner:
    """A process, named so that another one with the same number is not mistaken for it."""

    host: str
    pid: int
    started: str
    """When the process began, in the words of its operating system."""
    since: str
    """When it took the lock; only shown."""

    @classmethod
    def here(cls) -> "Owner":
        """This process."""
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(platform.node(), os.getpid(), _started(os.getpid()), moment)

    def may_live(self) -> bool:
        """False only where the process is known to be gone; one on another host cannot be asked."""
        return self.host != platform.node() or (self.started != "" and _started(self.pid) == self.started)


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, once for all its processes; that of a dead process is taken over.

    Raises:
        BusyError: a process that may still live holds it.
        UserError: the folder cannot be written.
    """
    on_main(lambda: _take(folder))
    try:
        yield
    finally:
        if is_main():
            (folder / LOCK).unlink(missing_ok=True)


def _take(folder: Path) -> None:
    with _locked(folder) as handle:
        other = _read(folder / LOCK)
        if other is not None and other.may_live():
            raise BusyError(
                f"{folder} is being run by process {other.pid} on {other.host} since {other.since}: skipped",
                f"if that process is gone, delete {folder / LOCK}",
            )
        os.truncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(Owner.here())).encode(), 0)
        os.fsync(handle)


def is_owned(folder: Path) -> bool:
    """Whether a process that may still live holds the lock."""
    owner = _read(folder / LOCK)
    return owner is not None and owner.may_live()


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """The open lock file, while no other process looks at it or changes it."""
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
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
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _started(pid: int) -> str:
    """Start of a process, with the boot it belongs to; empty where there is none of that number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return "" if fields[0] == "Z" else f"{boot} {fields[19]}"
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()
