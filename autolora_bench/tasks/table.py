"""Configuration type -> task kind."""

from collections.abc import Callable
from typing import Any

from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RegressionTask,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.tasks.base import Task
from autolora_bench.tasks.classification import Classification, Regression
from autolora_bench.tasks.generation.task import Generation
from autolora_bench.tasks.tagging import Tagging

KINDS: dict[type[TaskConfig], Callable[[Any], Task]] = {
    ClassificationTask: Classification,
    RegressionTask: Regression,
    TaggingTask: Tagging,
    GenerationTask: Generation,
}


def build_task(config: TaskConfig) -> Task:
    """The task kind of a configuration."""
    return KINDS[type(config)](config)
