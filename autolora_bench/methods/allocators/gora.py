"""GoRA (He et al., 2025, arXiv:2502.12171): ranks and LoRA's first values from one mean gradient before the training.

Section 4.1: a layer's importance I is the mean over its weights of |W x G|, G the mean gradient over a few batches.
Its rank is its share of all importance times the budget, the sum of sqrt(D + O) x reference rank, over its own
sqrt(D + O): ranks are in proportion to I / sqrt(D + O). The authors round each and cut it to half and four times the
reference rank (their scripts; `minimum_rank` and `maximum_rank`), which misses the budget; here it is met exactly.

Section 4.2: B starts so that the update is a step down G, A as LoRA's (methods.initialising); G is computed anew for
it, from the same batches. With `variant.start=lora` only the ranks are GoRA's.
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.allocators import GoraRanksConfig
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.one_pass import Look, OnePassSearch


def importance(weight: Tensor, gradient: Tensor) -> float:
    """Mean of |W x G| over the square root of the layer's inputs and outputs together; both (O, D)."""
    product = weight.detach().cpu().double() * gradient.detach().cpu().double()
    return float(product.abs().mean()) / math.sqrt(sum(weight.shape))


def gora(config: GoraRanksConfig) -> AllocatedLora:
    """The method."""

    def find(look: Look) -> Found:
        gradients = look.mean_gradients(config.variant.gora.batches)
        layers: list[Any] = [look.backbone.model.get_submodule(name) for name in look.budget.modules]
        weights = [layer.weight.T if isinstance(layer, Conv1D) else layer.weight for layer in layers]
        pairs = zip(weights, (gradients[name] for name in look.budget.modules), strict=True)
        scores = torch.tensor([importance(*pair) for pair in pairs], dtype=torch.float64)
        return Found(look.budget.proportional(scores), scores)

    return AllocatedLora(config, OnePassSearch(config, find))
