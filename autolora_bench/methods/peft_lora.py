"""PEFT's LoRA and AdaLoRA on a fresh model."""

import warnings
from typing import Any

import peft
from peft import PeftModel, TaskType
from transformers.pytorch_utils import Conv1D

from autolora_bench.methods.base import PhaseContext
from autolora_bench.models.load import Backbone, HeadKind

TASK_TYPES = {
    HeadKind.sequence: TaskType.SEQ_CLS,
    HeadKind.tokens: TaskType.TOKEN_CLS,
    HeadKind.language_model: TaskType.CAUSAL_LM,
    HeadKind.text_to_text: TaskType.SEQ_2_SEQ_LM,
    HeadKind.hidden_states: TaskType.FEATURE_EXTRACTION,
}


def lora_model(backbone: Backbone, context: PhaseContext, **options: Any) -> PeftModel:
    """PEFT's LoRA on a fresh model, its head trained in full; `options` are those of `peft.LoraConfig`."""
    return low_rank_model(backbone, context, peft.LoraConfig, **options)


def low_rank_model(
    backbone: Backbone, context: PhaseContext, kind: type[peft.LoraConfig], **options: Any
) -> PeftModel:
    """A low-rank method of PEFT on a fresh model, its head trained in full.

    Args:
        backbone: the pretrained model, changed in place.
        context: for the task's head.
        kind: PEFT's configuration of the method.
        options: of `kind`.
    """
    config = kind(
        task_type=TASK_TYPES[context.task.head().kind],
        modules_to_save=backbone.head_modules or None,
        fan_in_fan_out=any(isinstance(backbone.model.get_submodule(t), Conv1D) for t in backbone.targets),
        **options,
    )
    with warnings.catch_warnings():  # of GPT-2's layers some are Conv1D: PEFT finds out for each, and says so
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
        model = peft.get_peft_model(backbone.model, config)
    assert isinstance(model, PeftModel)
    return model
