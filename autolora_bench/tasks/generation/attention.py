"""Attention of beams: what the rows of a prompt share is multiplied once for all of them.

While a step runs it stands in for PyTorch's attention in transformers' registry. While the prompts are read it is
PyTorch's, and takes down what each layer asked for; from then on, where `Beams` has taken the layers over, it is
`attend`: what scaled_dot_product_attention computes, up to rounding, with scores and their softmax in single precision
at least. For a query of one token, batched products take a third of the time of PyTorch's fused kernel on a CPU.

Shapes: as in `cache`; A = H G heads of queries.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from autolora_bench.models.attention import PYTORCH, attention_replaced
from autolora_bench.tasks.generation.cache import BeamLayer, Beams, forgets_nothing

HARMLESS = {"is_causal", "position_ids", "use_cache"}
"""Arguments of an attention that change nothing for a query of one token."""


def can_share(model: Any) -> bool:
    """Whether a model's layers may attend as beams do: by PyTorch's attention, called with whatever the model was
    called with, and to all tokens. Which do is seen while the prompts are read."""
    backend = model.config._attn_implementation == PYTORCH and model._supports_attention_backend
    return bool(backend) and forgets_nothing(model.config)


@contextmanager
def beam_attention(beams: Beams | None) -> Iterator[dict[str, Beams]]:
    """Within this context attention is that of `beams`, for a model that is called with what this yields besides.

    A model that is called without has its usual attention.
    """
    if beams is None:
        yield {}
        return
    with attention_replaced(forward):
        yield {"beams": beams}


def forward(
    usual: Any,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    beams: Beams | None = None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, Any]:
    """(R, A, ., D) queries -> (R, ., A, D), as transformers calls an attention; `usual` is its own."""
    number = getattr(module, "layer_idx", None)
    if beams is not None and number in beams.layers:
        return attend(query, beams.layers[number], beams, scaling), None
    if beams is not None and not any(_asks(others[name]) for name in others.keys() - HARMLESS):
        beams.note(number, key, value, attention_mask)
    outputs: tuple[Tensor, Any] = usual(module, query, key, value, attention_mask, scaling=scaling, **others)
    return outputs


def _asks(value: Any) -> bool:
    return isinstance(value, Tensor) or bool(value)


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
