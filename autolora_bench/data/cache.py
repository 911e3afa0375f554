"""Tokenised data on disk, so that a second run starts at once."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

from datasets import Dataset, load_from_disk

from autolora_bench.paths import cache_dir

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
        found = load_from_disk(entry)
        if not isinstance(found, Dataset):
            raise ValueError("not a single data set")
        # Memory-mapped columns fail only when they are touched: a truncated file has to show here.
        found[:1], found[-1:]
    except Exception as error:
        _logger.warning("cache entry %s cannot be read (%s): built anew", entry, error)
        return None
    return found


def _write(dataset: Dataset, entry: Path) -> None:
    temporary = _beside(entry)
    try:
        temporary.mkdir(parents=True)
        dataset.save_to_disk(temporary)
        _publish(temporary, entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
