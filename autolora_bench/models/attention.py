"""Another function in the place of PyTorch's attention, for models that look it up in transformers' registry.

MPNet, which in transformers does not ask the registry, does so here: what stands in the place of attention elsewhere
stands in MPNet's too. Outputs are those of transformers' MPNetModel.

Shapes: B batch, T tokens, H heads, D inputs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder, MPNetPreTrainedModel, MPNetSelfAttention

PYTORCH = "sdpa"
"""The name under which transformers calls scaled_dot_product_attention."""


@contextmanager
def attention_replaced(attend: Callable[..., Any]) -> Iterator[None]:
    """Within this context `attend`, called with the usual function and its arguments, is every model's attention."""
    usual = ALL_ATTENTION_FUNCTIONS[PYTORCH]
    try:
        AttentionInterface.register(PYTORCH, partial(attend, usual))
        yield
    finally:
        AttentionInterface.register(PYTORCH, usual)


class RegisteredSelfAttention(MPNetSelfAttention):
    """Asks the registry."""

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, _: None, position_bias: Tensor, **__: Any
    ) -> tuple[Tensor]:
        """(B, T, D) and a bias (B, H, T, T) that is as low as can be where a token is hidden -> (B, T, D)."""
        shape = hidden_states.shape[:-1]
        states = (
            project(hidden_states).view(*shape, -1, self.attention_head_size).transpose(1, 2)
            for project in (self.q, self.k, self.v)
        )
        dropout = self.dropout.p if self.training else 0.0
        attend = ALL_ATTENTION_FUNCTIONS[PYTORCH]
        outputs, _weights = attend(self, *states, position_bias, dropout=dropout, is_causal=False)
        return (self.o(outputs.reshape(*shape, -1)),)


class RegisteredEncoder(MPNetEncoder):
    """Hides padding in the bias of positions, once for all layers."""

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> BaseModelOutput:
        """(B, T, D) and a mask (B, 1, T, T) that is true where a token may attend -> (B, T, D)."""
        bias: Tensor = self.compute_position_bias(hidden_states)  # type: ignore[no-untyped-call]
        if attention_mask is not None:
            bias = bias.masked_fill(~attention_mask, torch.finfo(bias.dtype).min)
        for layer in self.layer:
            (hidden_states,) = layer(hidden_states, None, bias)
        return BaseModelOutput(last_hidden_state=hidden_states)


REGISTERED = {MPNetSelfAttention: RegisteredSelfAttention, MPNetEncoder: RegisteredEncoder}


def ask_registry(model: nn.Module) -> None:
    """Let an MPNet that was loaded within `mpnet_with_sdpa` attend by the registry; other models stay as they are."""
    for module in model.modules():
        module.__class__ = REGISTERED.get(type(module), type(module))


@contextmanager
def mpnet_with_sdpa() -> Iterator[None]:
    """Within this context transformers loads an MPNet with attn_implementation="sdpa"."""
    usual = MPNetPreTrainedModel._supports_sdpa
    try:
        MPNetPreTrainedModel._supports_sdpa = True
        yield
    finally:
        MPNetPreTrainedModel._supports_sdpa = usual
