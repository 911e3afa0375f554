"""LLaMA-Adapter (Zhang et al., ICLR 2024) through PEFT's adaption prompts: zero-initialised gated attention to prompts.

Trained, with V virtual tokens, N adapted blocks and hidden size D: N (V D + 1). One gate a block, as in PEFT; the
authors' code has one for every head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import peft
from peft import PeftModel
from torch import nn

from autolora_bench.config.prompts import LlamaAdapterConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import Phase, PhaseContext
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.methods.lora import TASK_TYPES
from autolora_bench.models.load import Backbone


@dataclass(frozen=True)
class LlamaAdapter:
    """Prompts in the upper blocks."""

    config: LlamaAdapterConfig

    def phases(self) -> Sequence[Phase]:
        """One training."""
        return [self._finetune()]

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model."""
        return self._finetune().rebuild(context)

    def _finetune(self) -> FinetunePhase:
        return FinetunePhase("finetune", self._adapt, self.config.learning_rate)

    def _adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        config = peft.AdaptionPromptConfig(
            task_type=TASK_TYPES[context.task.head().kind],
            adapter_len=self.config.virtual_tokens,
            adapter_layers=adapted_blocks(self.config, backbone.model.config.num_hidden_layers),
        )
        model = peft.get_peft_model(backbone.model, config)
        assert isinstance(model, PeftModel)
        return model


def adapted_blocks(config: LlamaAdapterConfig, blocks: int) -> int:
    """How many blocks, from the output back, get prompts. Raises UserError for none: PEFT would take that for all."""
    adapted = blocks - round(config.drop * blocks)
    if adapted < 1:
        raise UserError(
            f"method.drop={config.drop} leaves none of the {blocks} blocks a prompt", "say a smaller share"
        )
    return adapted
