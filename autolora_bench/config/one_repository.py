"""Configuration files read once for many compositions.

Hydra copies its repository for every composition, the store of all schemas with it, and reads and parses every file
anew: a third of the time of composing a suite.
"""

import copy
import os
import pickle
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource

Stamp = tuple[int, ...]

_parsed: dict[tuple[str, str, str], tuple[Stamp, bytes]] = {}
"""Provider, folder and name of every file that this process has read: what it held, and how it looked on disk then."""


class OneRepository(ConfigRepository):
    """Parses a file again only where it has changed; schemas are looked up once.

    A composition changes what it loads, so that each gets a copy of its own.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self._schemas: dict[tuple[str, str, str], tuple[Stamp, bytes]] = {}
        super().__init__(config_search_path)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OneRepository":
        """What Hydra does to its copy is to give it other sources, not to change these."""
        return copy.copy(self)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """As Hydra's."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None:
            return None
        stamp = _stamp(source, config_path)
        known = _parsed if stamp else self._schemas
        key = (source.provider, source.path, config_path)
        found = known.get(key)
        if found is None or found[0] != stamp:
            found = known[key] = stamp, pickle.dumps(super().load_config(config_path))
        return cast(ConfigResult, pickle.loads(found[1]))


def _stamp(source: ConfigSource, config_path: str) -> Stamp:
    """How a file looks on disk; empty for what is no file, such as a schema."""
    if source.scheme() != "file":
        return ()
    status = os.stat(os.path.join(source.path, source._normalize_file_name(config_path)))
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_once() -> None:
    """Compositions of the Hydra that is now initialised share one repository."""
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    loader.repository = OneRepository(loader.config_search_path)
