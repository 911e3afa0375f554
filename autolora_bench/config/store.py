"""Registers the schemas, so that every YAML under conf/ is checked field by field."""

from hydra.core.config_store import ConfigStore

from autolora_bench.config.data import DataConfig
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.model import ModelConfig
from autolora_bench.config.registry import methods
from autolora_bench.config.task import TASKS
from autolora_bench.config.train import TrainConfig


def register_schemas() -> None:
    """Put every schema into Hydra's ConfigStore, as schema/<group>/<name>, unless they are there."""
    store = ConfigStore.instance()
    if "schema" in store.repo:
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
    for name, stated in methods().items():
        store.store(group="schema/method", name=name, node=stated.config)
