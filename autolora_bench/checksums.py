"""Checksums of files: SHA-256 names what a run has read, CRC-32 tells what was damaged on disk."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from autolora_bench.errors import UserError

BLOCK = 1 << 22

_known: dict[tuple[str, int, int, int, int], str] = {}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; read once per process as long as nobody writes the file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        found = path.stat()
        # The time of the last change of the inode is nobody's to set, unlike that of the content.
        state = (str(path.absolute()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        if state not in _known:
            with path.open("rb") as file:
                _known[state] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "check the file and its permissions"
        ) from error
    return _known[state]


def crc32(path: Path) -> int:
    """CRC-32 of a file. Raises OSError where it cannot be read."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found = zlib.crc32(block, found)
    return found


def crc32_of(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Name -> CRC-32 of files below `folder`. Raises OSError where one cannot be read."""
    return {name: crc32(folder / name) for name in sorted(names)}


def damaged(folder: Path, expected: Mapping[str, int]) -> list[str]:
    """The files below `folder` that are gone, cannot be read or have another CRC-32 than they had."""
    return [name for name, checksum in expected.items() if not _is_whole(folder / name, checksum)]


def _is_whole(path: Path, checksum: int) -> bool:
    try:
        return path.is_file() and crc32(path) == checksum
    except OSError:
        return False
