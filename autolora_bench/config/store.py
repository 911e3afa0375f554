"""What Hydra composes from: the schemas, so that every YAML under conf/ is checked field by field, and the files.

Hydra copies its repository for every composition, the store of all schemas with it, and reads and parses every file
anew: a third of the time of composing a suite. Here many compositions share one.
"""

import copy
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


class Loaded(ConfigResult):
    """What a file or a schema holds. Its settings are unpacked when they are asked for: a list of defaults needs few.

    A composition changes the settings, so that each unpacks its own. The header and the defaults are everybody's: Hydra
    reads the one and copies the other.
    """

    def __init__(self, result: ConfigResult, stamp: Any) -> None:
        vars(self).update(vars(result), stamp=stamp, packed=pickle.dumps(result.config))
        del self.config

    def fresh(self) -> "Loaded":
        """Another one that has unpacked nothing yet."""
        return copy.copy(self)

    def __getattr__(self, name: str) -> Any:
        if name != "config":
            raise AttributeError(name)
        self.config = pickle.loads(vars(self)["packed"])
        return self.config


_loaded: dict[tuple[str, str, str], Loaded] = {}
"""By provider, folder and name: what this process has read."""


class OneRepository(ConfigRepository):
    """Parses a file again only where it has changed, and a schema where another took its place."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "OneRepository":
        """What Hydra does to its copy is to give it other sources, not to change these."""
        twin = object.__new__(OneRepository)
        vars(twin).update(vars(self))
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process goes Hydra's own, with its sources: as it is unpickled there it could find none."""
        return object.__new__, (ConfigRepository,), {"sources": self.sources}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """As Hydra's."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None:
            return None
        stamp = _stamp(source, config_path)
        key = (source.provider, source.path, config_path)
        found = _loaded.get(key)
        if found is not None and found.stamp == stamp:
            return found.fresh()
        result = cast(ConfigResult, super().load_config(config_path))
        with suppress(pickle.PicklingError):  # a class of Hydra's, whose module a launcher has imported anew
            if stamp is not None:
                _loaded[key] = Loaded(result, stamp)
        return result


class _Same:
    """Equal to itself alone: a schema that is stored anew is another, whatever it holds."""

    def __init__(self, node: object) -> None:
        self.node = node

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.node is self.node

    __hash__ = None  # type: ignore[assignment]


def _stamp(source: ConfigSource, config_path: str) -> Any:
    """What stays the same for as long as a file or a schema does; None where that cannot be told."""
    name = source._normalize_file_name(config_path)
    if source.scheme() == "structured":
        return _Same(ConfigStore.instance()._load(name).node)
    if source.scheme() == "file":
        status = os.stat(os.path.join(source.path, name))
        return status.st_mtime_ns, status.st_size, status.st_ino
    return () if source.provider == "hydra" else None  # what comes with Hydra stays as it is


class SharingLoader(ConfigLoaderImpl):
    """Hydra's loader, whose compositions share what was read."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = OneRepository(config_search_path)


@contextmanager
def reading_once() -> Iterator[None]:
    """Every Hydra that is initialised meanwhile has a loader that shares what was read."""
    before = vars(engine)["ConfigLoaderImpl"], trees._create_interpolation_map
    vars(engine)["ConfigLoaderImpl"], trees._create_interpolation_map = SharingLoader, _choices_where_named
    try:
        yield
    finally:
        vars(engine)["ConfigLoaderImpl"], trees._create_interpolation_map = before


_all_choices = trees._create_interpolation_map
_no_choices = OmegaConf.create()


def _choices_where_named(
    overrides: trees.Overrides, defaults_list: list[InputDefault], self_added: bool
) -> DictConfig:
    """The choices so far, which interpolations in a defaults list name; Hydra makes them for lists without any too."""
    named = any("${" in str(default) for default in defaults_list)
    return _all_choices(overrides, defaults_list, self_added) if named else _no_choices
