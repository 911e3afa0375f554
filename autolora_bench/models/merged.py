"""Low-rank adapters folded into the weights they adapt, for as long as a model only reads."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from autolora_bench.models.storage import is_full

MERGED = (LoraConfig, IA3Config)
"""Configurations of types whose updates are added to, or multiplied into, the weights of the layers they adapt."""


def _can_merge(config: Any) -> bool:
    """A bias of LoRA's own has no place in a layer without one."""
    return isinstance(config, MERGED) and not getattr(config, "lora_bias", False)


@contextmanager
def merged(model: nn.Module) -> Iterator[Any]:
    """Within this context the adapters of a PEFT model are merged; afterwards every weight is as before, bit for bit.

    Yields the model without PEFT's wrapper. Left alone are a model without adapters, adapters of a type that is not in
    MERGED (PEFT has types that cannot be merged, and types that cannot be taken out again), those of weights in fewer
    than 32 bits, where most of an update would be rounded away, and those of weights that other modules have too, as a
    language model's head may have its embeddings: these would get the update as well.
    """
    if not isinstance(model, PeftModel):
        yield model
        return
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    if not layers or not _can_merge(model.active_peft_config):
        yield model.get_base_model()
        return
    weights = [weight for layer in layers for weight in layer.get_base_layer().parameters()]
    places = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    if not all(is_full(weight) and places[id(weight)] == 1 for weight in weights):
        yield model.get_base_model()
        return
    saved = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        model.merge_adapter()
    try:
        yield model.get_base_model()
    finally:
        with torch.no_grad():
            model.unmerge_adapter()
            for weight, value in zip(weights, saved, strict=True):
                weight.copy_(value)
