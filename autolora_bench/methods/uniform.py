"""LoRA (Hu et al., 2021) of one rank on every target layer, and its variants.

Trained, without the head: rank x (D + O) for every layer, D inputs and O outputs; DoRA adds O. EVA gives layers
different ranks of the same total.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from torch import nn

from autolora_bench.config.method import LoraConfig
from autolora_bench.config.variant import Start
from autolora_bench.methods.base import Phase, PhaseContext
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.methods.initialising import START_RANKS, initialising
from autolora_bench.methods.ranked_model import export_adapter, ranked_model, read_allocation
from autolora_bench.models.load import Backbone
from autolora_bench.search import RankAllocation
from autolora_bench.training.lora_optimizers import optimizer_of


@dataclass(frozen=True)
class Lora:
    """One rank for all layers."""

    config: LoraConfig

    def phases(self) -> Sequence[Phase]:
        """First values where the start computes any, and one training."""
        return [*initialising(self.config, self._asked), self._finetune()]

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model."""
        return self._finetune().rebuild(context)

    def _finetune(self) -> FinetunePhase:
        return FinetunePhase(
            "finetune",
            self._adapt,
            self.config.learning_rate,
            export=self._export,
            optimizer=optimizer_of(self.config.variant),
        )

    def _adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        computed = self.config.variant.start is Start.eva
        ranks = read_allocation(context.folder / START_RANKS) if computed else self._asked(backbone, context)
        return ranked_model(backbone, context, self.config, ranks)

    def _asked(self, backbone: Backbone, context: PhaseContext) -> RankAllocation:
        return RankAllocation.from_ranks(backbone.targets, [self.config.rank] * len(backbone.targets))

    def _export(self, model: PeftModel, backbone: Backbone, folder: Path) -> None:
        export_adapter(self.config, model, folder)
