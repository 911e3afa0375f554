"""Full fine-tuning: the upper reference of every table."""

from dataclasses import dataclass

from torch import nn

from autolora_bench.config.method import FullConfig
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import OneTraining
from autolora_bench.models.load import Backbone


@dataclass(frozen=True)
class Full(OneTraining):
    """Every weight is trained."""

    config: FullConfig

    def adapt(self, backbone: Backbone, context: PhaseContext) -> nn.Module:
        """The model as it is."""
        return backbone.model
