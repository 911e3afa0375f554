"""Any type of PEFT with any of its settings, trained and measured as every other method is.

PEFT puts the weights in and takes them out; what a type needs beside that is in methods.peft_hooks (losses,
allocations) and methods.peft_adapter (inputs).
Trained, without the head: what requires a gradient, counted, not computed by a formula.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn

from autolora_bench.config.peft_method import PeftMethodConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import OneTraining
from autolora_bench.methods.peft_adapter import adapted_by_peft
from autolora_bench.methods.peft_hooks import OwnLoss, SubspaceSchedule
from autolora_bench.methods.rank_schedule import RankSchedule, prepare_export, rebuilt
from autolora_bench.models.export import export
from autolora_bench.models.load import Backbone
from autolora_bench.processes import world_size
from autolora_bench.tasks.model_fit import check_room
from autolora_bench.training.method_hooks import MethodHooks


@dataclass(frozen=True)
class PeftMethod(OneTraining):
    """A type of PEFT."""

    config: PeftMethodConfig

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model."""
        if self.config.type != "ADALORA":
            return super().rebuild(context)
        model = self.adapt(context.backbone(), context)
        return rebuilt(model, context.folder / self.training_name, context.device)

    def details(self, context: PhaseContext) -> dict[str, Any]:
        """The type and what was set of it."""
        return {"peft_type": self.config.type, "settings": self.config.settings}

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        """What PEFT makes of a fresh model. Raises UserError in several processes, or where an input is too long."""
        if world_size() > 1:
            raise UserError(
                f"{self.config.type} of PEFT is not proved to train in several processes, and this is one of "
                f"{world_size()}",
                "start it as one process; method=lora and its variants train in several",
            )
        settings = self.config.settings
        virtual = settings.get("num_virtual_tokens") or len(settings.get("cpt_token_ids") or [])
        check_room(
            backbone.model,
            context.experiment.task,
            context.splits,
            virtual,
            "method.settings.num_virtual_tokens",
        )
        return adapted_by_peft(backbone, context.task.head().kind, self.config)

    def hooks(self, model: PeftModel) -> MethodHooks:
        """Allocations and losses that PEFT leaves to the training."""
        settings: Any = model.active_peft_config
        if self.config.type == "ADALORA":
            parts = int(settings.tinit), int(settings.tfinal)
            mend = "method.settings.tinit or method.settings.tfinal"
            return RankSchedule(model, lambda steps: parts, self._orthogonality, mend)
        if self.config.type == "ADAMSS" and settings.use_asa:
            return SubspaceSchedule(model)
        return OwnLoss(model) if self.config.type == "LORA" else MethodHooks()

    @property
    def _orthogonality(self) -> float:
        """AdaLoRA's gamma, as it was said or as PEFT has it."""
        c = self.config
        return float(c.settings.get("orth_reg_weight", c.info.settings["orth_reg_weight"]))

    def export(self, model: PeftModel, backbone: Backbone, folder: Path) -> None:
        """PEFT's own format; the merged model, for transformers, where that has no place for the task's head."""
        if self.config.type == "ADALORA":
            prepare_export(model, self._orthogonality, folder.parent)
        if backbone.head_modules and not getattr(model.active_peft_config, "modules_to_save", None):
            whole: Any = copy.deepcopy(model)
            export(whole.merge_and_unload(), folder)
        else:
            export(model, folder)
