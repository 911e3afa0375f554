"""Attention of beams: what the rows of a prompt share is multiplied once for all of them.

It is registered with transformers under a name of its own. While the prompts are read it is PyTorch's, and takes down
which layers ask for nothing beyond that; from then on, where `Beams` has taken the layers over, it is `attend`: what
scaled_dot_product_attention computes, up to rounding, with scores and their softmax in single precision at least. For
a query of one token, batched products take a third of the time of PyTorch's fused kernel on a CPU.

Shapes: as in `cache`; A = H G heads of queries.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from autolora_bench.tasks.generation.cache import BeamLayer, Beams

NAME = "autolora_bench_beams"
PYTORCH = "sdpa"
HARMLESS = {"dropout", "is_causal", "position_ids", "use_cache"}
"""Arguments that change nothing in evaluation, for one token at a time."""


@contextmanager
def beam_attention(model: Any, beams: Beams) -> Iterator[dict[str, Beams]]:
    """Within this context a model with PyTorch's attention has that of beams; another keeps its own.

    Yields what the model's call needs besides.
    """
    replaced = model.config._attn_implementation == PYTORCH and model._supports_attention_backend
    if not replaced:
        yield {}
        return
    model.config._attn_implementation = NAME
    try:
        yield {"beams": beams}
    finally:
        model.config._attn_implementation = PYTORCH


def forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    beams: Beams | None = None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """(R, A, ., D) queries -> (R, ., A, D), as transformers calls an attention; `beams` is what `StepModel` gave."""
    number = getattr(module, "layer_idx", None)
    if beams is not None and number in beams.layers:
        return attend(query, beams.layers[number], beams, scaling), None
    if beams is not None and all(others[name] is None for name in others.keys() - HARMLESS):
        beams.plain.add(number)
    outputs, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
    return outputs, None


def attend(query: Tensor, layer: BeamLayer, beams: Beams, scaling: float | None) -> Tensor:
    """(R, A, 1, D) -> (R, 1, A, D)."""
    size = query.shape[-1]
    scale = size**-0.5 if scaling is None else scaling
    with torch.autocast(query.device.type, enabled=False):
        asked = query.reshape(len(query), layer.keys.shape[1], -1, size).to(layer.keys.dtype) * scale
        read = beams.by_prompt(asked) @ layer.prompt_keys.transpose(-1, -2) + beams.bias
        scores = torch.cat([beams.by_row(read), asked @ layer.keys.transpose(-1, -2)], dim=-1)
        weights = scores.softmax(dim=-1).to(layer.values.dtype)
        read, own = torch.split(weights, [beams.bias.shape[-1], layer.keys.shape[-2]], dim=-1)
        outputs: Tensor = beams.by_row(beams.by_prompt(read) @ layer.prompt_values) + own @ layer.values
    return outputs.reshape(len(query), 1, -1, outputs.shape[-1])


AttentionInterface.register(NAME, forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
