"""CorDA's start (Yang et al., 2024, arXiv:2406.05223): components of the weight in the light of the layer's inputs.

Shapes: D inputs, O outputs, r rank of a layer; A is (r, D), B is (O, r), C the inputs' correlations (D, D).
"""

from collections.abc import Callable

import peft
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda

from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.factors import Factors
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.methods.ranked_model import LowRankConfig, lora_options
from autolora_bench.models.load import Backbone
from autolora_bench.search import RankAllocation
from autolora_bench.search.layers import lora_factors, lora_layers


def corda_start(
    config: LowRankConfig,
    asked: RankAllocation,
    backbone: Backbone,
    context: PhaseContext,
    read: Callable[[], None],
) -> Factors:
    """Section 3 of the paper as PEFT computes it: W C = U S V', A = (S / scale)^(1/2) V' C^-1, B = U (S / scale)^(1/2),
    r of each, the largest or the smallest.

    Args:
        config: the method.
        asked: the ranks; a layer of rank 0 has no factors.
        backbone: the fresh model, changed in place.
        context: the run.
        read: passes examples through the model, one at a time; correlations are taken of what the layers read
            meanwhile, dropout off.
    """
    options = {
        **lora_options(config, asked),
        "init_lora_weights": "corda",
        "corda_config": CordaConfig(corda_method=config.variant.corda.mode.value),
    }
    preprocess_corda(backbone.model, peft.LoraConfig(**options), read)
    model = lora_model(backbone, context, **options)
    return dict(zip(lora_layers(model), lora_factors(model), strict=True))
