"""Which tasks and models each kind of method can be run on: stated here, checked before anything is trained."""

from dataclasses import dataclass

from autolora_bench.config.method import (
    AdaLoraConfig,
    AdapterConfig,
    AutoLoraConfig,
    BitFitConfig,
    FullConfig,
    LoraConfig,
    MethodConfig,
    RankedLoraConfig,
)
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RegressionTask,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.errors import UserError

KINDS: dict[type[TaskConfig], str] = {
    ClassificationTask: "classification",
    RegressionTask: "regression",
    TaggingTask: "tagging",
    GenerationTask: "generation",
}
"""Task kinds as they are spoken of."""


@dataclass(frozen=True)
class Support:
    """What a kind of method works on."""

    tasks: tuple[type[TaskConfig], ...] = tuple(KINDS)
    architectures: tuple[str, ...] | None = None
    """model_type of transformers' configurations; none: every architecture."""
    reason: str = ""
    """Why not the others, in a few words."""

    def sentence(self) -> str:
        """What it works on, for a reader; empty where that is everything."""
        kinds = [] if set(self.tasks) == set(KINDS) else [KINDS[task] for task in self.tasks]
        return "; ".join(", ".join(names) for names in (kinds, self.architectures or ()) if names)


EVERYTHING = Support()
SUPPORT: dict[type[MethodConfig], Support] = {
    FullConfig: EVERYTHING,
    AdapterConfig: EVERYTHING,
    BitFitConfig: EVERYTHING,
    LoraConfig: EVERYTHING,
    RankedLoraConfig: EVERYTHING,
    AdaLoraConfig: EVERYTHING,
    AutoLoraConfig: EVERYTHING,
}
"""Every kind of method states what it supports. Adapters and BitFit also look at the model itself: methods.bottleneck,
methods.bitfit."""


def check_task(method: MethodConfig, task: TaskConfig) -> None:
    """Raises UserError where the method does not work on this kind of task."""
    support = SUPPORT[type(method)]
    if not isinstance(task, support.tasks):
        raise UserError(
            f"method={method.name} does not work on {KINDS[type(task)]} (task={task.name}){_because(support)}",
            f"it works on {', '.join(KINDS[kind] for kind in support.tasks)}; choose another method or task",
        )


def check_architecture(method: MethodConfig, architecture: str) -> None:
    """Raises UserError where the method does not work on models of this `model_type`."""
    support = SUPPORT[type(method)]
    if support.architectures is not None and architecture not in support.architectures:
        raise UserError(
            f"method={method.name} does not work on a {architecture} model{_because(support)}",
            f"it works on {', '.join(support.architectures)}; choose another method or model",
        )


def _because(support: Support) -> str:
    return f": {support.reason}" if support.reason else ""
