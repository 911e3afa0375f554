"""Small JSON files of the cache: what was found out once, and stays the same as long as its key does."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from autolora_bench.errors import UserError
from autolora_bench.paths import cache_dir
from autolora_bench.record import write_atomically

Made = TypeVar("Made")


@dataclass(frozen=True)
class JsonCache:
    """A folder of the cache. A cache that cannot be read or written is none, and stops nothing."""

    folder: str
    most: int | None = None
    """Entries that it holds; the one that was not used for longest goes first. None: all stay."""

    def path(self, key: str) -> Path:
        """The file of a key, which is everything that the value depends on."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        return cache_dir() / self.folder / f"{digest[:32]}.json"

    def read(self, key: str, make: Callable[[Any], Made]) -> Made | None:
        """What `make` makes of the value that is kept; None where there is none, or none that it can read."""
        path = self.path(key)
        with suppress(OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
            found = make(json.loads(path.read_text(encoding="utf-8")))
            with suppress(OSError):
                path.touch()
            return found
        return None

    def write(self, key: str, value: object) -> None:
        """Keep a value that JSON can hold."""
        path = self.path(key)
        with suppress(UserError, OSError):
            write_atomically(path, json.dumps(value))
            if self.most is not None:
                files = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
                for old in files[: -self.most]:
                    old.unlink(missing_ok=True)
