"""Monarch updates: what is added to a pretrained weight is a Monarch matrix (models.monarch) at a scale.

As an adapter it is MoRe (Tan et al., 2024, arXiv 2408.17383), whose blkdiag1 and blkdiag2 are right and left here, and
whose block rank r_blk is `blocks` x `block_rank`. Trained, without the head: the sum over the layers of
blocks x block_rank x (D + O), D inputs and O outputs: as many as of a LoRA of rank blocks x block_rank.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.method import MonarchConfig
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import OneTraining, head_alone
from autolora_bench.models.adapted_layers import check_blocks
from autolora_bench.models.export import export
from autolora_bench.models.load import Backbone
from autolora_bench.models.monarch import monarch_matrix, monarch_multiply
from autolora_bench.models.targets import check_own_weight

UPDATE = "monarch"
"""Name of the update inside the layer that it is added to."""


@dataclass(frozen=True)
class Monarch(OneTraining):
    """A Monarch matrix beside every target layer of a frozen model."""

    config: MonarchConfig

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PreTrainedModel:
        """Updates that are zero at first, and the head.

        Raises:
            UserError: the blocks do not fit a layer, or a layer's weight is another's too.
        """
        model = head_alone(backbone)
        for name in backbone.targets:
            check_own_weight(model, name, f"an update of {name} alone cannot be saved in it")
            _insert(model.get_submodule(name), name, self.config)
        return model

    def export(self, model: Any, backbone: Backbone, folder: Path) -> None:
        """The whole model with the updates in its weights, which transformers loads."""
        with updates_in_weights(model):
            export(model, folder)


class MonarchUpdate(nn.Module):
    """(..., D) -> (..., O): scale x M dropout(x).

    At first the left factor is zero and the blocks of the right one are as torch.nn.Linear's, uniform within
    1 / sqrt(D / N) (MoRe's code).
    """

    def __init__(self, inputs: int, outputs: int, config: MonarchConfig) -> None:
        super().__init__()
        blocks, middle = config.blocks, config.blocks * config.block_rank
        bound = (inputs // blocks) ** -0.5
        self.right = nn.Parameter(torch.empty(blocks, middle, inputs // blocks).uniform_(-bound, bound))
        self.left = nn.Parameter(torch.zeros(blocks, outputs // blocks, middle))
        self.dropout = nn.Dropout(config.dropout)
        self.scale = config.scale

    def forward(self, inputs: Tensor) -> Tensor:
        """What is added to the layer's output."""
        return self.scale * monarch_multiply(self.dropout(inputs), self.left, self.right)

    def weight(self) -> Tensor:
        """What is added to the layer's weight: (O, D)."""
        return self.scale * monarch_matrix(self.left, self.right)


def _insert(layer: Any, name: str, config: MonarchConfig) -> None:
    turned = isinstance(layer, Conv1D)
    inputs, outputs = layer.weight.shape if turned else reversed(layer.weight.shape)
    check_blocks(f"{name}, a layer", outputs, inputs, config.blocks, config.block_rank)
    layer.add_module(UPDATE, MonarchUpdate(inputs, outputs, config))
    layer.register_forward_hook(_add_update)


def _add_update(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    update: Tensor = layer.get_submodule(UPDATE)(inputs[0])
    return output + update


@contextmanager
def updates_in_weights(model: nn.Module) -> Iterator[None]:
    """Within this context, which is for saving, the layers' weights hold their updates and nothing is beside them.

    Afterwards every weight is as before, bit for bit.
    """
    layers: list[Any] = [layer for layer in model.modules() if UPDATE in layer._modules]
    updates = [layer._modules.pop(UPDATE) for layer in layers]
    saved = [layer.weight.detach().clone() for layer in layers]
    with torch.no_grad():
        for layer, update in zip(layers, updates, strict=True):
            layer.weight += update.weight().T if isinstance(layer, Conv1D) else update.weight()
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, update, weight in zip(layers, updates, saved, strict=True):
                layer.weight.copy_(weight)
                layer.add_module(UPDATE, update)
