"""SR-LoRA (Zhang et al., ICCV 2025, arXiv:2507.00327): ranks from the stable rank of the pretrained weights.

The stable rank of W is |W|_F^2 / |W|_2^2, the sum of its squared singular values over the largest one's square. It
needs no data and never sees the task. The authors take it as the rank itself, 9 to 116 in their ViT-B
(EndoluminalSurgicalVision-IMR/SR-LoRA@ea37988, README); for a budget, the ranks here are in proportion to it.
"""

from typing import Any

import torch
from torch import Tensor

from autolora_bench.config.allocators import StableRankConfig
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.one_pass import Look, OnePassSearch


def stable_rank(weight: Tensor) -> float:
    """Of a matrix, in double precision on the CPU; 0 of a matrix of zeros."""
    squares = torch.linalg.svdvals(weight.detach().cpu().double()).square()
    return float(squares.sum() / squares[0]) if squares[0] > 0 else 0.0


def stable_ranks(config: StableRankConfig) -> AllocatedLora:
    """The method."""

    def find(look: Look) -> Found:
        layers: list[Any] = [look.backbone.model.get_submodule(name) for name in look.budget.modules]
        scores = torch.tensor([stable_rank(layer.weight) for layer in layers], dtype=torch.float64)
        return Found(look.budget.proportional(scores), scores)

    return AllocatedLora(config, OnePassSearch(config, find))
