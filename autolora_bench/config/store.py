"""Registers the schemas, so that every YAML under conf/ is checked field by field."""

from hydra.core.config_store import ConfigStore

from autolora_bench.config.allocators import ALLOCATORS
from autolora_bench.config.data import DataConfig
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.method import (
    AdaLoraConfig,
    AdapterConfig,
    AutoLoraConfig,
    BitFitConfig,
    FullConfig,
    HeadOnlyConfig,
    LoraConfig,
    PlantedRanksConfig,
    RankedLoraConfig,
)
from autolora_bench.config.model import ModelConfig
from autolora_bench.config.peft_method import PeftMethodConfig
from autolora_bench.config.prompts import (
    IA3Config,
    LlamaAdapterConfig,
    PrefixConfig,
    PromptConfig,
    PTuningConfig,
)
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RecoveryTask,
    RegressionTask,
    TaggingTask,
)
from autolora_bench.config.train import TrainConfig

TASKS = {
    "classification": ClassificationTask,
    "regression": RegressionTask,
    "tagging": TaggingTask,
    "generation": GenerationTask,
    "recovery": RecoveryTask,
}
METHODS = {
    "full": FullConfig,
    "adapter": AdapterConfig,
    "bitfit": BitFitConfig,
    "lora": LoraConfig,
    "ranked_lora": RankedLoraConfig,
    "planted_ranks": PlantedRanksConfig,
    "adalora": AdaLoraConfig,
    "autolora": AutoLoraConfig,
    "prefix_tuning": PrefixConfig,
    "prompt_tuning": PromptConfig,
    "p_tuning": PTuningConfig,
    "llama_adapter": LlamaAdapterConfig,
    "ia3": IA3Config,
    "head_only": HeadOnlyConfig,
    "peft": PeftMethodConfig,
    **ALLOCATORS,
}


NODES = (*TASKS.values(), *METHODS.values())
"""The classes among which a name chooses."""


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
    for name, node in TASKS.items():
        store.store(group="schema/task", name=name, node=node)
    for name, node in METHODS.items():
        store.store(group="schema/method", name=name, node=node)
