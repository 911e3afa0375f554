"""Virtual tokens of PEFT's prompt methods, for whoever runs the pretrained model itself and not PEFT's wrapper.

Shapes: R rows, V virtual tokens, D embedding size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peft import PeftModel, PeftType
from torch import Tensor, nn


@dataclass(frozen=True)
class VirtualTokens:
    """What a model reads before every input: embeddings, or keys and values as if they had been read."""

    count: int
    embeddings: Tensor | None = None
    """(V, D); None where there are keys and values."""
    cache: Callable[[int], Any] | None = None
    """R -> a fresh cache of keys and values for R rows."""


def virtual_count(model: nn.Module) -> int:
    """How many virtual tokens a model reads before every input."""
    if not isinstance(model, PeftModel) or not model.active_peft_config.is_prompt_learning:
        return 0
    return int(model.active_peft_config.num_virtual_tokens)


def virtual_tokens(model: nn.Module) -> VirtualTokens | None:
    """The virtual tokens of a model that PEFT wrapped; None where there are none before the input."""
    count = virtual_count(model)
    if count == 0 or not isinstance(model, PeftModel):
        return None
    if model.active_peft_config.peft_type in (PeftType.PREFIX_TUNING, PeftType.CARTRIDGE):
        return VirtualTokens(count, cache=lambda rows: model.get_prompt(rows))
    return VirtualTokens(count, embeddings=model.get_prompt(1)[0])
