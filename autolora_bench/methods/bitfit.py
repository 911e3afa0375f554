"""BitFit (Ben Zaken et al., 2022): the bias terms and the task's head are trained, nothing else."""

from dataclasses import dataclass

from torch import nn

from autolora_bench.config.method import BitFitConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import OneTraining, head_alone
from autolora_bench.models.load import Backbone


@dataclass(frozen=True)
class BitFit(OneTraining):
    """Bias terms of a frozen model: 102,144 on RoBERTa-base, layer norms' included."""

    config: BitFitConfig

    def adapt(self, backbone: Backbone, context: PhaseContext) -> nn.Module:
        """Everything frozen but bias terms and head. Raises UserError where the model has no bias terms."""
        model = head_alone(backbone)
        biases = [weight for name, weight in model.named_parameters() if name.rpartition(".")[2] == "bias"]
        if not biases:
            raise UserError(
                f"a {model.config.model_type} model has no bias terms", "choose a method other than bitfit"
            )
        for weight in biases:
            weight.requires_grad_(True)
        return model
