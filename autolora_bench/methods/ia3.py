"""IA3 (Liu et al., NeurIPS 2022) through PEFT: keys, values and inner feed-forward units are scaled by learnt factors.

Trained, without the head: the sum over the blocks of the sizes of keys, values and the feed-forward layers' inside;
for BERT-like models of hidden size D and inner size F: L (2 D + F).
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import peft
from peft import PeftModel

from autolora_bench.config.prompts import IA3Config
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import OneTraining
from autolora_bench.methods.peft_lora import TASK_TYPES
from autolora_bench.models.fused_scales import save_scales
from autolora_bench.models.inner import scaled_modules
from autolora_bench.models.load import Backbone


@dataclass(frozen=True)
class IA3(OneTraining):
    """Factors on keys, values and feed-forward units."""

    config: IA3Config

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        """Factors of one in every block."""
        outputs, inputs = scaled_modules(backbone.model)
        config = peft.IA3Config(
            task_type=TASK_TYPES[context.task.head().kind],
            target_modules=outputs + inputs,
            feedforward_modules=inputs,
            modules_to_save=backbone.head_modules or None,
        )
        with (
            warnings.catch_warnings()
        ):  # of GPT-2's two kinds of layer, each of which PEFT recognises by itself
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set")
            model = peft.get_peft_model(backbone.model, config)
        assert isinstance(model, PeftModel)
        return model

    def export(self, model: PeftModel, backbone: Backbone, folder: Path) -> None:
        """PEFT's own format."""
        save_scales(model, folder)
