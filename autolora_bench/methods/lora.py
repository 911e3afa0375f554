"""LoRA (Hu et al., 2021) of one rank on every target layer, and its variants.

Trained, without the head: rank x (D + O) for every layer, D inputs and O outputs; DoRA adds O. EVA gives layers
different ranks of the same total.
"""

from dataclasses import dataclass

from peft import PeftModel

from autolora_bench.config.method import LoraConfig
from autolora_bench.config.variant import Start
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.initialising import START_RANKS
from autolora_bench.methods.low_rank import LowRank
from autolora_bench.methods.ranked_model import ranked_model, read_allocation
from autolora_bench.models.load import Backbone
from autolora_bench.search import RankAllocation


@dataclass(frozen=True)
class Lora(LowRank):
    """One rank for all layers."""

    config: LoraConfig

    def ranks(self, backbone: Backbone, context: PhaseContext) -> RankAllocation:
        """`method.rank` in every adapted layer."""
        return RankAllocation.from_ranks(backbone.targets, [self.config.rank] * len(backbone.targets))

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        """The backbone with LoRA of these ranks; under EVA, of those that its start has found."""
        if self.config.variant.start is not Start.eva:
            return super().adapt(backbone, context)
        return ranked_model(backbone, context, self.config, read_allocation(context.folder / START_RANKS))
