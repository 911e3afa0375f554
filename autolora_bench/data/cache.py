"""Tokenised data on disk, so that a second run starts at once."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

from datasets import Dataset, load_from_disk

from autolora_bench.checksums import crc32_of
from autolora_bench.errors import UserError
from autolora_bench.paths import cache_dir, remove_leftovers

CHECKSUMS = "checksums.json"
"""CRC-32 of every other file of an entry: a power cut may leave the right length and the wrong bytes."""
LARGEST = 20 * 2**30
"""Bytes that all entries together may take, where AUTOLORA_BENCH_CACHE_GIB says nothing."""
_logger = logging.getLogger(__name__)


def cached_dataset(key_parts: Mapping[str, str], build: Callable[[], Dataset]) -> Dataset:
    """The data set of this key: read from the cache, or built and put there.

    Args:
        key_parts: everything that the result depends on (data fingerprint, split, tokenizer, lengths, ...), but for the
            code of `autolora_bench.tasks`, which is part of every key.
        build: makes the data set; called only where the cache has none that can be read.

    An entry appears whole or not at all, so that several runs may share one cache. Where the cache cannot be written,
    the data set stays in memory and a warning is logged. The entries that were not used for longest go when all of them
    take more than AUTOLORA_BENCH_CACHE_GIB (20 by default).

    Raises:
        UserError: AUTOLORA_BENCH_CACHE_GIB is no number.
    """
    largest = _largest()
    key = hashlib.sha256(json.dumps([_code(), *sorted(key_parts.items())]).encode()).hexdigest()
    entry = cache_dir() / "datasets" / key
    found = _read(entry)
    if found is not None:
        return found
    dataset = build()
    try:
        _write(dataset, entry)
    except OSError as error:
        _logger.warning(
            "tokenised data is not cached: %s (set AUTOLORA_BENCH_CACHE to a writable folder)", error
        )
        return dataset
    with suppress(OSError):  # of several runs that make room at once, one removes an entry
        _remove_oldest(entry, largest)
    return _read(entry) or dataset


@cache
def _code() -> str:
    """Of what makes the entries: after an update an older version's would be read as if they were this one's."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent.parent / "tasks").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(entry: Path) -> Dataset | None:
    if not entry.is_dir():
        return None
    try:
        # Memory-mapped columns fail only when they are touched, or not at all: damage has to show here.
        if json.loads((entry / CHECKSUMS).read_text(encoding="utf-8")) != _checksums(entry):
            raise ValueError("its checksums are not those of its files")
        found = load_from_disk(entry)
        if not isinstance(found, Dataset):
            raise ValueError("not a single data set")
        with suppress(OSError):
            os.utime(entry)
    except Exception as error:
        _logger.warning("cache entry %s cannot be read (%s): built anew", entry, error)
        return None
    return found


def _write(dataset: Dataset, entry: Path) -> None:
    temporary = _beside(entry)
    try:
        temporary.mkdir(parents=True)
        remove_leftovers(entry.parent)
        dataset.save_to_disk(temporary)
        (temporary / CHECKSUMS).write_text(json.dumps(_checksums(temporary)), encoding="utf-8")
        _publish(temporary, entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_oldest(newest: Path, largest: int) -> None:
    """Delete the entries whose last use is furthest back until all take at most `largest` bytes; `newest` stays."""
    found = [entry for entry in newest.parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    sizes = {entry: sum(file.stat().st_size for file in entry.iterdir()) for entry in found}
    excess = sum(sizes.values()) - largest
    for entry in sorted(set(found) - {newest}, key=lambda entry: entry.stat().st_mtime):
        if excess <= 0:
            return
        excess -= sizes[entry]
        leaving = _beside(entry)
        entry.rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)


def _largest() -> int:
    said = os.environ.get("AUTOLORA_BENCH_CACHE_GIB")
    try:
        return LARGEST if said is None else int(float(said) * 2**30)
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"AUTOLORA_BENCH_CACHE_GIB={said} is not a number",
            "say how many GiB the cache may take, as in 20",
        ) from error


def _checksums(entry: Path) -> dict[str, int]:
    return crc32_of(entry, (path.name for path in entry.iterdir() if path.name != CHECKSUMS))


def _publish(temporary: Path, entry: Path) -> None:
    """Put the finished folder in place; an unreadable entry makes room, a concurrent writer's good one stays."""
    try:
        temporary.rename(entry)
    except OSError:
        if _read(entry) is not None:
            return
        broken = _beside(entry)
        try:
            entry.rename(broken)
            temporary.rename(entry)
        finally:
            shutil.rmtree(broken, ignore_errors=True)


def _beside(entry: Path) -> Path:
    """A name that no other writer uses, on the same file system."""
    return entry.with_name(f".{entry.name[:8]}-{uuid4().hex}")
