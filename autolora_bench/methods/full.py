"""Full fine-tuning: the upper reference of every table."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from autolora_bench.config.method import FullConfig
from autolora_bench.methods.base import Phase, PhaseContext
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.models.load import Backbone


@dataclass(frozen=True)
class Full:
    """Every weight is trained."""

    config: FullConfig

    def phases(self) -> Sequence[Phase]:
        """One training."""
        return [self._finetune()]

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model."""
        return self._finetune().rebuild(context)

    def _finetune(self) -> FinetunePhase:
        return FinetunePhase("finetune", _everything, self.config.learning_rate)


def _everything(backbone: Backbone, context: PhaseContext) -> nn.Module:
    return backbone.model
