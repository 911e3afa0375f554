"""Bottleneck adapters: the module, and where an architecture takes it.

Three placements, x a sub-layer's input, h its output before the residual sum, f the bottleneck:
    houlsby   h + f(h) after attention and after the feed-forward layers (google-research/adapter-bert@69b7c58,
              modeling.py: both adapters come after dropout and before the sum and its layer norm)
    pfeiffer  h + f(norm(x + h)) after the feed-forward layers, the block's own norm read a second time;
              h + f(x + h) where blocks end without a norm (adapter-hub/adapters, SeqBnConfig)
    lin       y + f(norm'(y)), y the whole block's output, norm' the adapter's own (zlinao/VGLM@866cd11,
              modeling_vlm.py)
Shapes: B batch, T tokens, D hidden size, M units.
"""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from autolora_bench.config.architectures import ARCHITECTURES, Sublayers
from autolora_bench.config.method import Activation, AdapterConfig, Placement
from autolora_bench.errors import UserError

ACTIVATIONS: dict[Activation, type[nn.Module]] = {Activation.gelu: nn.GELU, Activation.relu: nn.ReLU}


class Bottleneck(nn.Module):
    """f: (B, T, D) -> (B, T, D) through M units; nearly zero at first, so that a model starts as it was."""

    def __init__(self, width: int, config: AdapterConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if config.placement is Placement.lin else nn.Identity()
        self.down = nn.Linear(width, config.bottleneck)
        self.activation = ACTIVATIONS[config.activation]()
        self.up = nn.Linear(config.bottleneck, width)
        std = config.initial_std
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """The change to be added."""
        change: Tensor = self.up(self.activation(self.down(self.norm(hidden))))
        return change


def insert_adapters(model: PreTrainedModel, config: AdapterConfig) -> list[Bottleneck]:
    """Add adapters to the blocks of `model`, in place; returns them in the model's order.

    Raises:
        UserError: where the architecture has its sub-layers is not known, or every block is dropped.
    """
    kind = model.config.model_type
    known = {name: one.sublayers for name, one in ARCHITECTURES.items() if one.sublayers is not None}
    if kind not in known:
        raise UserError(
            f"where the sub-layers of a {kind} model are is not known",
            f"choose a model among: {', '.join(known)}; or add it to config/architectures.py",
        )
    parts = known[kind]
    blocks = list(model.base_model.get_submodule(parts.blocks).children())
    dropped = dropped_blocks(config, len(blocks))
    if dropped >= len(blocks):
        raise UserError(
            f"method.drop={config.drop} leaves none of the {len(blocks)} blocks an adapter",
            "say a smaller share",
        )
    width = model.config.hidden_size
    return [adapter for block in blocks[dropped:] for adapter in _insert(block, parts, width, config)]


def dropped_blocks(config: AdapterConfig, blocks: int) -> int:
    """How many blocks, from the input on, get no adapter."""
    return int(config.drop * blocks + 0.5)


def _insert(block: nn.Module, parts: Sublayers, width: int, config: AdapterConfig) -> list[Bottleneck]:
    if config.placement is Placement.houlsby:
        places = {"adapter_attention": parts.attention, "adapter_feed_forward": parts.feed_forward}
        adapters = {name: Bottleneck(width, config) for name in places}
        for name, place in places.items():
            block.get_submodule(place).register_forward_hook(_AfterOutput(adapters[name]))
    else:
        adapters = {"adapter": Bottleneck(width, config)}
        _insert_at_end(block, parts, adapters["adapter"], config.placement)
    for name, adapter in adapters.items():
        block.add_module(name, adapter)
    return list(adapters.values())


def _insert_at_end(block: nn.Module, parts: Sublayers, adapter: Bottleneck, placement: Placement) -> None:
    if parts.norm is None:
        block.register_forward_hook(_AfterOutput(adapter))
    elif placement is Placement.lin:
        block.get_submodule(parts.norm).register_forward_hook(_AfterOutput(adapter))
    else:
        block.get_submodule(parts.norm).register_forward_pre_hook(_BeforeNorm(adapter))


class _AfterOutput:
    """Forward hook: output h becomes h + f(h)."""

    def __init__(self, adapter: Bottleneck) -> None:
        self.adapter = adapter

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        change: Tensor = self.adapter(output)
        return output + change


class _BeforeNorm:
    """Pre-hook of a layer norm: its input s becomes s + f(norm(s))."""

    def __init__(self, adapter: Bottleneck) -> None:
        self.adapter = adapter

    def __call__(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        change: Tensor = self.adapter(module.forward(inputs[0]))
        return (inputs[0] + change,)
