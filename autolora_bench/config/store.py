"""What Hydra composes from: the schemas, so that every YAML under conf/ is checked field by field, and the files.

Hydra copies its repository for every composition, the store of all schemas with it, and reads and parses every file
anew: a third of the time of composing a suite. Here many compositions share one.
"""

import copy
import os
import pickle
from typing import Any, cast

from hydra._internal import defaults_list as trees
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import InputDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autolora_bench.config.data import DataConfig
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.model import ModelConfig
from autolora_bench.config.registry import MethodKind, methods
from autolora_bench.config.task import TASKS
from autolora_bench.config.train import TrainConfig
from autolora_bench.errors import UserError


def register_schemas() -> None:
    """Put every schema into Hydra's ConfigStore, as schema/<group>/<name>, unless they are there."""
    store = ConfigStore.instance()
    if "experiment.yaml" in store.repo.get("schema", {}):
        return
    for name, node in {
        "experiment": ExperimentConfig,
        "data": DataConfig,
        "model": ModelConfig,
        "train": TrainConfig,
    }.items():
        store.store(group="schema", name=name, node=node)
    for name, kind in TASKS.items():
        store.store(group="schema/task", name=name, node=kind)
    for stated in methods().values():
        register_method(stated)


def register_method(kind: MethodKind) -> None:
    """Put the schema of one method into Hydra's ConfigStore.

    Raises:
        UserError: a setting is of a type that a configuration cannot hold.
    """
    try:
        ConfigStore.instance().store(group="schema/method", name=kind.name, node=kind.config)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"method {kind.name!r}: {kind.config.__name__} cannot be a configuration: {said}",
            "settings are bool, int, float, str, Enum, dataclasses, and lists and dicts of them",
        ) from error


def forget_method(kind: MethodKind) -> None:
    """Take the schema of one method out of it again."""
    schemas = ConfigStore.instance().repo.get("schema", {}).get("method", {})
    schemas.pop(f"{kind.name}.yaml", None)


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
    trees._create_interpolation_map = _choices_where_named


_all_choices = trees._create_interpolation_map


def _choices_where_named(
    overrides: trees.Overrides, defaults_list: list[InputDefault], self_added: bool
) -> DictConfig:
    """The choices so far, which interpolations in a defaults list name; Hydra makes them for lists without any too."""
    named = any("${" in str(default) for default in defaults_list)
    return _all_choices(overrides, defaults_list, self_added) if named else OmegaConf.create()
