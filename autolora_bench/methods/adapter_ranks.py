"""The rank of every adapted layer, read off a trained model of PEFT, for types whose layers have one."""

from collections.abc import Mapping
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from autolora_bench.models.adapted_layers import places
from autolora_bench.record import LayerRank
from autolora_bench.search.layers import lora_layers

FACTORS: dict[str, tuple[str, int]] = {
    "DEFT": ("deft_P", 1),
    "DELORA": ("delora_A", 0),
    "GRALORA": ("gralora_A", -1),
    "HIRA": ("hira_A", 0),
    "HRA": ("hra_u", 1),
    "LILY": ("lily_A", 0),
    "LOHA": ("hada_w1_b", 0),
    "LOKR": ("lokr_w2_b", 0),
    "MISS": ("miss_block", -2),
    "PEANUT": ("peanut_A", 0),
    "POLY": ("poly_lora_A", -1),
    "PSOFT": ("_psoft_A_cache", 0),
    "PVERA": ("pvera_B", 1),
    "RANDLORA": ("randlora_A", 0),
    "TINYLORA": ("tinylora_A", 0),
    "UNILORA": ("unilora_indices_A", 0),
    "VBLORA": ("vblora_logits_A", 0),
    "VERA": ("vera_B", 1),
}
"""Type -> tensors of its layers, by adapter, and the axis whose size is what its paper calls the rank. LoKr has none on
small layers, where its factors are whole. Of the other types SHiRA's and OFT's r is no rank (a number of weights; of
blocks), and AdaMSS's, GLoRA's, OSF's and Supertuning's is of parts of what they do."""


def adapter_ranks(model: nn.Module, targets: list[str]) -> list[LayerRank]:
    """Rank of every target layer, 0 where it has no adapter; empty for a method without ranks.

    Where a type of PEFT adapts other layers than the targets, they are those.
    """
    if not isinstance(model, PeftModel):
        return []
    ranks = _ranks(model)
    if ranks is None:
        return []
    names = targets if ranks.keys() <= set(targets) else list(ranks)
    return [
        LayerRank(name, *place, ranks.get(name, 0)) for name, place in zip(names, places(names), strict=True)
    ]


def _ranks(model: PeftModel) -> Mapping[str, int] | None:
    """Adapted layer -> its rank; none where not every adapted layer has one."""
    adapter, config = str(model.active_adapter), model.active_peft_config
    if isinstance(config, LoraConfig):
        return {name: int(layer.r[adapter]) for name, layer in lora_layers(model).items()}
    if config.peft_type is None or config.peft_type.value not in FACTORS:
        return None
    attribute, axis = FACTORS[config.peft_type.value]
    layers = {
        name: layer
        for name, layer in model.get_base_model().named_modules()
        if isinstance(layer, BaseTunerLayer) and hasattr(layer, attribute)
    }
    found: dict[str, int] = {}
    for name, layer in layers.items():
        tensors: Any = getattr(layer, attribute)
        if adapter not in tensors:
            return None
        factor = tensors[adapter]
        found[name] = int(getattr(factor, "weight", factor).shape[axis])
    return found or None
