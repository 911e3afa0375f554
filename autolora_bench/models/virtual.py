"""Virtual tokens of PEFT's prompt methods, for whoever runs the pretrained model itself and not PEFT's wrapper.

An encoder-decoder reads embeddings before what it encodes, and keys and values before what it writes.
Shapes: R rows, T tokens, V virtual tokens, D embedding size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel, PeftType
from torch import Tensor, nn
from transformers import PreTrainedModel


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
    return VirtualTokens(count, embeddings=model.get_prompt(1)[0, :count])


def encode(model: Any, tokens: Tensor, mask: Tensor, virtual: VirtualTokens | None) -> tuple[Tensor, Tensor]:
    """What an encoder-decoder of transformers makes of (R, T) tokens: (R, T or V + T, D) states, and their mask."""
    if virtual is None or virtual.embeddings is None:
        return model.get_encoder()(input_ids=tokens, attention_mask=mask).last_hidden_state, mask
    read = model.get_input_embeddings()(tokens)
    before = virtual.embeddings.to(read.dtype).expand(len(tokens), -1, -1)
    mask = torch.cat([mask.new_ones(len(mask), virtual.count), mask], dim=-1)
    states = model.get_encoder()(inputs_embeds=torch.cat([before, read], dim=1), attention_mask=mask)
    return states.last_hidden_state, mask


def prompt_sizes(model: PreTrainedModel, *, keys: bool) -> dict[str, Any]:
    """Settings of PEFT's prompt configurations that it finds out by names which not every model's configuration has.

    Args:
        model: the pretrained one.
        keys: whether the prompt is keys and values, which an encoder-decoder has in the half that writes, and not
            embeddings, which it has in the half that reads.
    """
    config = model.config
    embeddings: Any = model.get_input_embeddings()
    size = int(embeddings.weight.shape[1])
    if not config.is_encoder_decoder:
        return {
            "token_dim": size,
            "num_attention_heads": config.num_attention_heads,
            "num_layers": config.num_hidden_layers,
        }
    layers = getattr(config, "decoder_layers", None) or config.num_decoder_layers
    heads = getattr(config, "decoder_attention_heads", None) or config.num_heads
    inner = heads * config.d_kv if hasattr(config, "d_kv") else size
    return {
        "token_dim": inner if keys else size,
        "num_attention_heads": heads,
        "num_layers": layers,
        # PEFT gives embeddings to both halves and leaves the second half's untrained; keys need its cache of both
        "num_transformer_submodules": 2 if keys else 1,
    }
