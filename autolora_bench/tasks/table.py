"""Configuration type -> task kind."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from transformers import PreTrainedConfig

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RecoveryTask,
    RegressionTask,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.errors import UserError
from autolora_bench.tasks.base import Task
from autolora_bench.tasks.classification import Classification, Regression
from autolora_bench.tasks.generation.task import Generation, TextToText
from autolora_bench.tasks.labels_as_text import ClassificationAsText, RegressionAsText
from autolora_bench.tasks.model_fit import stated_positions
from autolora_bench.tasks.recovery import Recovery
from autolora_bench.tasks.tagging import Tagging

KINDS: dict[type[TaskConfig], Callable[[Any], Task]] = {
    ClassificationTask: Classification,
    RegressionTask: Regression,
    TaggingTask: Tagging,
    GenerationTask: Generation,
}
AS_TEXT: dict[type[TaskConfig], Callable[[Any, int], Task]] = {
    ClassificationTask: ClassificationAsText,
    RegressionTask: RegressionAsText,
    GenerationTask: TextToText,
}
"""The same for encoder-decoders, which write their answers; of these and the token that the decoder begins with."""


def build_task(experiment: ExperimentConfig, stated: PreTrainedConfig | None = None) -> Task:
    """The task kind of an experiment; a recovery task plants its truth in the experiment's own model.

    Args:
        experiment: its task.
        stated: configuration of its model: an encoder-decoder writes its answers, of T5's kind at any length.

    Raises:
        UserError: an encoder-decoder does not say with which of its tokens its writing half begins.
    """
    task = experiment.task
    if isinstance(task, RecoveryTask):
        return Recovery(experiment)
    kind = AS_TEXT.get(type(task))
    if kind is not None and stated is not None and stated.is_encoder_decoder:
        start = getattr(stated, "decoder_start_token_id", None)
        if type(start) is not int or not 0 <= start < stated.vocab_size:
            raise UserError(
                f"the config.json of model={experiment.model.name} says decoder_start_token_id={start!r}",
                "name the token that the decoder begins with: for T5 that of padding",
            )
        found = kind(task, start)
    else:
        found = KINDS[type(task)](task)
    if isinstance(found, Generation) and stated is not None:
        return replace(found, unlimited=stated_positions(stated) is None)
    return found
