"""One repository of configuration files for many compositions.

Hydra copies its repository for every composition, the store of all schemas with it, and reads and parses every file
anew: a third of the time of composing a suite.
"""

import copy
import pickle
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.config_source import ConfigResult


class OneRepository(ConfigRepository):
    """Reads every file once. Its files must not change as long as it is used.

    A composition changes what it loads, so that each gets a copy of its own.
    """

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self._read: dict[tuple[str, ...], dict[str, bytes]] = {}
        super().__init__(config_search_path)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OneRepository":
        """What Hydra does to its copy is to give it other sources, not to change these."""
        return copy.copy(self)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """As Hydra's."""
        sources = tuple(f"{source.provider} {source.path}" for source in self.sources)
        read = self._read.setdefault(sources, {})
        if config_path not in read:
            read[config_path] = pickle.dumps(super().load_config(config_path))
        return cast(ConfigResult | None, pickle.loads(read[config_path]))


def read_once() -> None:
    """Compositions of the Hydra that is now initialised share one repository."""
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    loader.repository = OneRepository(loader.config_search_path)
