"""BitFit (Ben Zaken et al., 2022): the bias terms and the task's head are trained, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from autolora_bench.config.method import BitFitConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import Phase, PhaseContext
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.models.load import Backbone


@dataclass(frozen=True)
class BitFit:
    """Bias terms of a frozen model: 102,144 on RoBERTa-base, layer norms' included."""

    config: BitFitConfig

    def phases(self) -> Sequence[Phase]:
        """One training."""
        return [self._finetune()]

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model."""
        return self._finetune().rebuild(context)

    def _finetune(self) -> FinetunePhase:
        return FinetunePhase("finetune", _biases, self.config.learning_rate)


def _biases(backbone: Backbone, context: PhaseContext) -> nn.Module:
    model = backbone.model
    biases = [weight for name, weight in model.named_parameters() if name.rpartition(".")[2] == "bias"]
    if not biases:
        raise UserError(
            f"a {model.config.model_type} model has no bias terms", "choose a method other than bitfit"
        )
    model.requires_grad_(False)
    for weight in biases:
        weight.requires_grad_(True)
    for name in backbone.head_modules:
        model.get_submodule(name).requires_grad_(True)
    return model
