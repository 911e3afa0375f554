"""LoRA (Hu et al., 2021) of one rank on every target layer, through PEFT."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import peft
from peft import PeftModel, TaskType
from torch import nn
from transformers.pytorch_utils import Conv1D

from autolora_bench.backbone.load import Backbone, HeadKind
from autolora_bench.config.method import LoraConfig
from autolora_bench.methods.base import Phase, PhaseContext
from autolora_bench.methods.finetuning import FinetunePhase

TASK_TYPES = {
    HeadKind.sequence: TaskType.SEQ_CLS,
    HeadKind.tokens: TaskType.TOKEN_CLS,
    HeadKind.language_model: TaskType.CAUSAL_LM,
}


@dataclass(frozen=True)
class Lora:
    """One rank for all layers."""

    config: LoraConfig

    def phases(self) -> Sequence[Phase]:
        """One training."""
        return [self._finetune()]

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model."""
        return self._finetune().rebuild(context)

    def _finetune(self) -> FinetunePhase:
        return FinetunePhase("finetune", self._adapt, self.config.learning_rate)

    def _adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        config = self.config
        return lora_model(
            backbone,
            context,
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=backbone.targets,
        )


def lora_model(backbone: Backbone, context: PhaseContext, **options: Any) -> PeftModel:
    """PEFT's LoRA on a fresh model, its head trained in full; `options` are those of `peft.LoraConfig`."""
    return peft_model(backbone, context, peft.LoraConfig, **options)


def peft_model(
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
    with warnings.catch_warnings():  # of GPT-2's layers some are Conv1D, some not: PEFT finds out for each, and says so
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
        model = peft.get_peft_model(backbone.model, config)
    assert isinstance(model, PeftModel)
    return model
