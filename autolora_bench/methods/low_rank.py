"""What every method has in common that ends in training a LoRA: ranks, first values, training, export.

Trained, without the head: sum of r_l (D_l + O_l) over the layers, D inputs and O outputs, r_l the layer's rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from peft import PeftModel

from autolora_bench.methods.base import Phase, PhaseContext
from autolora_bench.methods.finetuning import FinetunePhase, OneTraining
from autolora_bench.methods.initialising import initialising
from autolora_bench.methods.ranked_model import LowRankConfig, export_adapter, ranked_model, read_allocation
from autolora_bench.models.load import Backbone
from autolora_bench.search import RankAllocation
from autolora_bench.training.lora_optimizers import MakeOptimizer, optimizer_of


@dataclass(frozen=True)
class LowRank(OneTraining):
    """A method that ends in training a LoRA: a subclass says which rank each layer has, or which file does."""

    config: LowRankConfig
    ranks_file: ClassVar[str]
    """Where the phases before leave the ranks, in the run's folder."""

    def ranks(self, backbone: Backbone, context: PhaseContext) -> RankAllocation:
        """The rank of every target layer, once the phases before have found it."""
        return read_allocation(context.folder / self.ranks_file)

    def before(self) -> Sequence[Phase]:
        """First values, where the variant's start computes any."""
        return initialising(self.config, self.ranks)

    def training(self) -> FinetunePhase:
        """With the method's own optimizer."""
        return replace(super().training(), optimizer=self.optimizer)

    def optimizer(self, context: PhaseContext) -> MakeOptimizer | None:
        """What makes the optimizer of the final training: the variant's own; none is AdamW."""
        return optimizer_of(self.config.variant)

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        """LoRA with those ranks."""
        return ranked_model(backbone, context, self.config, self.ranks(backbone, context))

    def export(self, model: PeftModel, backbone: Backbone, folder: Path) -> None:
        """PEFT's own format; it loads on the pretrained weights as they are, whatever the start."""
        export_adapter(self.config, model, folder)
