"""Tokenised data on disk, so that a second run starts at once."""

import hashlib
import json
import logging
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

from datasets import Dataset, load_from_disk

from autolora_bench.paths import cache_dir, remove_leftovers

CHECKSUMS = "checksums.json"
"""CRC-32 of every other file of an entry: a power cut may leave the right length and the wrong bytes."""
_logger = logging.getLogger(__name__)


def cached_dataset(key_parts: Mapping[str, str], build: Callable[[], Dataset]) -> Dataset:
    """The data set of this key: read from the cache, or built and put there.

    Args:
        key_parts: everything that the result depends on (data fingerprint, split, tokenizer, lengths, ...).
        build: makes the data set; called only where the cache has none that can be read.

    An entry appears whole or not at all, so that several runs may share one cache. Where the cache cannot be written,
    the data set stays in memory and a warning is logged.
    """
    key = hashlib.sha256(json.dumps(sorted(key_parts.items())).encode()).hexdigest()
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
    return _read(entry) or dataset


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


def _checksums(entry: Path) -> dict[str, int]:
    return {path.name: _checksum(path) for path in sorted(entry.iterdir()) if path.name != CHECKSUMS}


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            found = zlib.crc32(block, found)
    return found


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
