"""Registers the schemas, so that every YAML under conf/ is checked field by field."""

from hydra.core.config_store import ConfigStore
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
