"""Only the task's head is trained: the lower reference of every table.

Every other method trains the same head beside its own weights, so that what a method adds is its row less this one, at
the same learning rate. The head of a model with a pooler that was never trained for use is the pooler too
(`model.untrained`).
"""

from dataclasses import dataclass

from torch import nn

from autolora_bench.config.method import HeadOnlyConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import OneTraining, head_alone
from autolora_bench.models.load import Backbone


@dataclass(frozen=True)
class HeadOnly(OneTraining):
    """The head on a frozen model; none of the weights of the method itself."""

    config: HeadOnlyConfig

    def adapt(self, backbone: Backbone, context: PhaseContext) -> nn.Module:
        """Everything frozen but the head. Raises UserError where no head is the task's to train."""
        model = backbone.model
        if not backbone.head_modules:
            raise UserError(
                f"a {model.config.model_type} checkpoint with a head of its own has nothing to train for head_only",
                "choose another method, or a checkpoint without a head",
            )
        return head_alone(backbone)
