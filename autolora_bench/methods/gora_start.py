"""GoRA's start (He et al., 2025, arXiv:2502.12171): LoRA's first step is one down the gradient of the full weight.

Shapes: D inputs, O outputs, r rank of a layer; A is (r, D), B is (O, r).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.factors import Factors
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.methods.ranked_model import LowRankConfig, lora_options
from autolora_bench.models.load import Backbone
from autolora_bench.search import RankAllocation
from autolora_bench.search.layers import lora_factors, lora_layers


def gora_start(
    config: LowRankConfig,
    asked: RankAllocation,
    backbone: Backbone,
    context: PhaseContext,
    gradients: Mapping[str, Tensor],
) -> Factors:
    """Section 4.2: LoRA's own A, and the B of `compressed_step`, for every layer of a rank above 0.

    Args:
        config: the method; its scaling decides B's size.
        asked: the ranks.
        backbone: the fresh model, changed in place.
        context: the run.
        gradients: layer -> gradient (O, D) with respect to its pretrained weight.
    """
    model = lora_model(backbone, context, **lora_options(config, asked))
    rate, adapter = config.variant.gora.learning_rate, model.active_adapter
    pairs = zip(lora_layers(model).items(), lora_factors(model), strict=True)
    return {
        name: (a, compressed_step(gradients[name], a, layer.scaling[adapter], rate))
        for (name, layer), (a, _) in pairs
    }


@torch.no_grad()
def compressed_step(gradient: Tensor, a: Tensor, scale: float, rate: float) -> Tensor:
    """B (O, r) with scale x B A = -rate sqrt(D / r) G P, P the projection on A's rows, G the gradient (O, D).

    A random projection keeps r / D of a square norm, so the step's length is about rate x |G| at every rank. The
    authors' code (hhnqqq/MyTransformers@4037d4d) has this length and no minus: its first step goes up the loss, against
    the paper.
    """
    rows = a.detach().cpu().double()
    step = -rate * math.sqrt(rows.shape[1] / rows.shape[0]) / scale
    b: Tensor = step * gradient.detach().cpu().double() @ torch.linalg.pinv(rows)
    return b.float()
