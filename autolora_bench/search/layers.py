"""The LoRA layers of a PEFT model. L layers, K components (LoRA's r), D inputs, O outputs."""

from __future__ import annotations

from typing import cast

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from autolora_bench.errors import require


def lora_layers(model: PeftModel) -> dict[str, LoraLayer]:
    """PEFT's LoRA layers of the active adapter, in model order, by their name inside the base model.

    Raises:
        UserError: several adapters are active.
    """
    require(
        len(model.active_adapters) == 1,
        f"several adapters are active: {', '.join(model.active_adapters)}",
        "activate one: model.set_adapter(name)",
    )
    adapter = model.active_adapter
    return {
        name: module
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, LoraLayer) and (adapter in module.lora_A or adapter in module.lora_embedding_A)
    }


def lora_factors(model: PeftModel) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """L pairs of weights, lora_A (K, D) and lora_B (O, K), in model order."""
    adapter = model.active_adapter
    pairs = [
        (layer.lora_A[adapter].weight, layer.lora_B[adapter].weight) for layer in lora_layers(model).values()
    ]
    return cast(list[tuple[nn.Parameter, nn.Parameter]], pairs)
