"""What Hydra composes from: the schemas, so that every YAML under conf/ is checked field by field, and the files.

Hydra copies its repository for every composition, the store of all schemas with it, and reads and parses every file
anew: a third of the time of composing a suite. Here many compositions share one.
"""

import copy
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from hydra._internal import defaults_list as trees
from hydra._internal import hydra as engine
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import InputDefault
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


Stamp = tuple[Any, ...]


class Loaded(ConfigResult):
    """What a file or a schema holds. Its settings are unpacked when they are asked for: a list of defaults needs few.

    A composition changes the settings, so that each unpacks its own. It changes neither the header nor the defaults.
    """

    def __init__(self, result: ConfigResult) -> None:
        vars(self).update(vars(result), packed=pickle.dumps(result.config))
        del self.config

    def fresh(self) -> "Loaded":
        """Another one that has unpacked nothing yet."""
        return copy.copy(self)

    def __getattr__(self, name: str) -> Any:
        if name != "config":
            raise AttributeError(name)
        self.config = pickle.loads(vars(self)["packed"])
        return self.config


_loaded: dict[tuple[str, str, str], tuple[Stamp, Loaded]] = {}
"""Provider, folder and name of all that this process has read: how it looked then, and what it held."""


class OneRepository(ConfigRepository):
    """Parses a file again only where it has changed, and a schema where another took its place."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self.search_path = config_search_path
        super().__init__(config_search_path)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OneRepository":
        """What Hydra does to its copy is to give it other sources, not to change these."""
        twin = object.__new__(OneRepository)
        vars(twin).update(vars(self))
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process, which has read nothing, goes Hydra's own."""
        return ConfigRepository, (self.search_path,)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """As Hydra's."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None:
            return None
        stamp = _stamp(source, config_path)
        key = (source.provider, source.path, config_path)
        found = _loaded.get(key)
        if found is None or found[0] != stamp:
            found = _loaded[key] = stamp, Loaded(cast(ConfigResult, super().load_config(config_path)))
        return found[1].fresh()


def _stamp(source: ConfigSource, config_path: str) -> Stamp:
    """How a file looks on disk; of a schema, the class; of what comes with a package, that it stays as it is."""
    name = source._normalize_file_name(config_path)
    if source.scheme() == "structured":
        return (OmegaConf.get_type(ConfigStore.instance()._load(name).node),)
    if source.scheme() != "file":
        return ()
    status = os.stat(os.path.join(source.path, name))
    return status.st_mtime_ns, status.st_size, status.st_ino


class SharingLoader(ConfigLoaderImpl):
    """Hydra's loader, whose compositions share what was read."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = OneRepository(config_search_path)


@contextmanager
def reading_once() -> Iterator[None]:
    """Every Hydra that is initialised meanwhile has a loader that shares what was read."""
    trees._create_interpolation_map = _choices_where_named
    before = vars(engine)["ConfigLoaderImpl"]
    vars(engine)["ConfigLoaderImpl"] = SharingLoader
    try:
        yield
    finally:
        vars(engine)["ConfigLoaderImpl"] = before


_all_choices = trees._create_interpolation_map
NO_CHOICES = OmegaConf.create()


def _choices_where_named(
    overrides: trees.Overrides, defaults_list: list[InputDefault], self_added: bool
) -> DictConfig:
    """The choices so far, which interpolations in a defaults list name; Hydra makes them for lists without any too."""
    named = any("${" in str(default) for default in defaults_list)
    return _all_choices(overrides, defaults_list, self_added) if named else NO_CHOICES
