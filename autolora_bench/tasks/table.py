"""Configuration type -> task kind."""

from collections.abc import Callable
from typing import Any

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RecoveryTask,
    RegressionTask,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.tasks.base import Task
from autolora_bench.tasks.classification import Classification, Regression
from autolora_bench.tasks.generation.task import Generation
from autolora_bench.tasks.recovery import Recovery
from autolora_bench.tasks.tagging import Tagging

KINDS: dict[type[TaskConfig], Callable[[Any], Task]] = {
    ClassificationTask: Classification,
    RegressionTask: Regression,
    TaggingTask: Tagging,
    GenerationTask: Generation,
}


def build_task(experiment: ExperimentConfig) -> Task:
    """The task kind of an experiment; a recovery task plants its truth in the experiment's own model."""
    if isinstance(experiment.task, RecoveryTask):
        return Recovery(experiment)
    return KINDS[type(experiment.task)](experiment.task)
