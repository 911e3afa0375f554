"""LLaMA-Adapter (Zhang et al., ICLR 2024) through PEFT's adaption prompts: zero-initialised gated attention to prompts.

PEFT (0.21.2) has one gate a block and multiplies by it; the authors' code (OpenGVLab/LLaMA-Adapter,
alpaca_finetuning_v1/llama/model.py) has one for every head and multiplies by its tanh, and so it is here.

Trained, with V virtual tokens, N adapted blocks of H heads and hidden size D: N (V D + H).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import peft
from peft import PeftModel, TaskType
from peft.tuners.adaption_prompt import AdaptedAttention
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from autolora_bench.config.prompts import LlamaAdapterConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import FinetunePhase, OneTraining
from autolora_bench.models.load import Backbone
from autolora_bench.record import write_atomically
from autolora_bench.training.weights import load_trainable, save_trainable

CONFIG = "llama_adapter.json"
WEIGHTS = "llama_adapter.safetensors"


@dataclass(frozen=True)
class LlamaAdapter(OneTraining):
    """Prompts in the upper blocks."""

    config: LlamaAdapterConfig

    def training(self) -> FinetunePhase:
        """At a rate that follows the batch size, as in the authors' code."""
        return replace(super().training(), base_batch_size=self.config.base_batch_size)

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        """Closed gates and prompts in the upper blocks."""
        blocks = adapted_blocks(self.config, backbone.model.config.num_hidden_layers)
        return prompted(backbone.model, self.config.virtual_tokens, blocks)

    def export(self, model: Any, backbone: Backbone, folder: Path) -> None:
        """Prompts and gates as safetensors, and what `load_llama_adapter` needs to insert them again.

        Stock PEFT has no place for a gate of each head.
        """
        attentions = gated_attentions(model)
        described = {
            "architecture": backbone.model.config.model_type,
            "virtual_tokens": self.config.virtual_tokens,
            "blocks": len(attentions),
        }
        save_trainable(model, folder / WEIGHTS)
        write_atomically(folder / CONFIG, json.dumps(described, indent=1) + "\n")


class Tanh(nn.Module):
    """A gate as its layer multiplies by it."""

    def forward(self, gate: Tensor) -> Tensor:
        """Between -1 and 1, of the same shape."""
        return gate.tanh()


def prompted(model: PreTrainedModel, virtual_tokens: int, blocks: int) -> PeftModel:
    """`model`, changed in place, with prompts and closed gates in its uppermost `blocks`; nothing else is trained."""
    config = peft.AdaptionPromptConfig(
        task_type=TaskType.CAUSAL_LM, adapter_len=virtual_tokens, adapter_layers=blocks
    )
    adapted = peft.get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    for attention in gated_attentions(adapted):
        gate: nn.Parameter = attention.adaption_gate
        attention.adaption_gate = nn.Parameter(gate.new_zeros(1, attention.num_heads, 1, 1))
        parametrize.register_parametrization(attention, "adaption_gate", Tanh())
    return adapted


def gated_attentions(model: nn.Module) -> list[Any]:
    """The attention of every block with prompts, from the input on."""
    return [module for module in model.modules() if isinstance(module, AdaptedAttention)]


def load_llama_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Insert what an export holds into a freshly loaded model of the same architecture.

    Raises:
        UserError: `folder` holds no LLaMA-Adapter, or one of another model.
    """
    try:
        described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        adapted = prompted(model, int(described["virtual_tokens"]), int(described["blocks"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} holds no LLaMA-Adapter: {error}", f"name a folder with {CONFIG}"
        ) from error
    load_trainable(adapted, folder / WEIGHTS)
    return adapted


def adapted_blocks(config: LlamaAdapterConfig, blocks: int) -> int:
    """How many blocks, from the output back, get prompts. Raises UserError for none: PEFT would take that for all."""
    adapted = blocks - round(config.drop * blocks)
    if adapted < 1:
        raise UserError(
            f"method.drop={config.drop} leaves none of the {blocks} blocks a prompt", "say a smaller share"
        )
    return adapted
