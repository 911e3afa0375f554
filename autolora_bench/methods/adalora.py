"""AdaLoRA (Zhang et al., ICLR 2023) through PEFT, with the rank allocation really running.

Each layer's update is alpha / initial_rank * B diag(E) A with r triplets; the least important triplets over all
layers are pruned until `target_rank` x layers are left. Trained at the end, without the head: sum of
r_l (D_l + O_l + 1) over the layers, D inputs and O outputs.
"""

from dataclasses import dataclass
from pathlib import Path

import peft
from peft import PeftModel
from torch import nn

from autolora_bench.config.method import AdaLoraConfig
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import OneTraining
from autolora_bench.methods.peft_lora import low_rank_model
from autolora_bench.methods.rank_schedule import UNKNOWN, RankSchedule, prepare_export, rebuilt
from autolora_bench.models.export import export
from autolora_bench.models.load import Backbone

ROUNDING = 1e-9


@dataclass(frozen=True)
class AdaLora(OneTraining):
    """Ranks allocated while training."""

    config: AdaLoraConfig

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model, with the triplets that were left."""
        model = self.adapt(context.backbone(), context)
        return rebuilt(model, context.folder / self.training_name, context.device)

    def hooks(self, model: PeftModel) -> RankSchedule:
        """Prunes triplets while the model is trained."""
        c = self.config
        mend = "method.initial_share or method.final_share"
        return RankSchedule(model, self._parts, c.orthogonality, mend)

    def _parts(self, steps: int) -> tuple[int, int]:
        c = self.config
        return int(c.initial_share * steps + ROUNDING), int(c.final_share * steps + ROUNDING)

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        """Triplets of the first rank in every layer."""
        c = self.config
        return low_rank_model(
            backbone,
            context,
            peft.AdaLoraConfig,
            init_r=c.initial_rank,
            target_r=c.target_rank,
            deltaT=c.interval,
            beta1=c.sensitivity_beta,
            beta2=c.uncertainty_beta,
            orth_reg_weight=0.0,  # RankSchedule.penalty adds it: PEFT's own is lost under label smoothing
            lora_alpha=c.alpha,
            lora_dropout=c.dropout,
            target_modules=backbone.targets,
            total_step=UNKNOWN,
        )

    def export(self, model: PeftModel, backbone: Backbone, folder: Path) -> None:
        """PEFT's own format, with the triplets that were left beside the weights for `rebuild`."""
        prepare_export(model, self.config.orthogonality, folder.parent)
        export(model, folder)
