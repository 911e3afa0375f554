"""IA3 (Liu et al., NeurIPS 2022) through PEFT: keys, values and inner feed-forward units are scaled by learnt factors.

Trained, without the head: the sum over the blocks of the sizes of keys, values and the feed-forward layers' inside;
for BERT-like models of hidden size D and inner size F: L (2 D + F). On a GPT-2 whose attention was split the factors
are saved in the original architecture's terms: one vector for the whole `c_attn`.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from autolora_bench.config.architectures import ARCHITECTURES
from autolora_bench.config.prompts import IA3Config
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.finetuning import OneTraining
from autolora_bench.methods.peft_lora import TASK_TYPES
from autolora_bench.models.gpt2 import PARTS, SplitProjection, has_split
from autolora_bench.models.load import Backbone

PREFIX = "base_model.model."
"""Of names in PEFT's state dict."""


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


def scaled_modules(model: PreTrainedModel) -> tuple[list[str], list[str]]:
    """Full names of the layers whose outputs, and of those whose inputs, are scaled: keys and values, of both halves
    and between them too, and the feed-forward layers' inside (section 3.3).

    Raises:
        UserError: the architecture's layers are not known, or query, key and value of GPT-2 are one layer.
    """
    architecture = model.config.model_type
    known = {name: one.factors for name, one in ARCHITECTURES.items() if one.factors is not None}
    if architecture not in known:
        raise UserError(
            f"which layers of a {architecture} model IA3 scales is not known",
            f"choose one of: {', '.join(known)}",
        )
    factors = known[architecture]
    attention = (factors.key, factors.value)
    names = [name for name, _ in model.named_modules()]
    outputs = [name for name in names if any(name.endswith(f".{ending}") for ending in attention)]
    inputs = [name for name in names if re.search(f"{factors.inside}$", name)]
    if not outputs:
        raise UserError(
            f"this {architecture} model has no layers {' and '.join(attention)}",
            "leave out model.targets, so that query, key and value are layers of their own",
        )
    return outputs, inputs


def save_scales(model: PeftModel, folder: Path) -> None:
    """`save_pretrained`; the factors of a split projection become one vector, with ones for what is not scaled."""
    if not has_split(model):
        model.save_pretrained(str(folder))
        return
    state = get_peft_model_state_dict(model)
    trained: Any = model.peft_config[str(model.active_adapter)]
    targets = set(trained.target_modules)
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, SplitProjection):
            parts = [_factors(state, f"{name}.{part}", getattr(module, part)) for part in PARTS]
            state[f"{PREFIX}{name}.ia3_l"] = torch.cat(parts)
            targets = {target for target in targets if not target.startswith(f"{name}.")} | {name}
    config = peft.IA3Config(
        task_type=trained.task_type,
        base_model_name_or_path=trained.base_model_name_or_path,
        modules_to_save=trained.modules_to_save,
        target_modules=sorted(targets),
        feedforward_modules=sorted(trained.feedforward_modules),
        fan_in_fan_out=True,
        inference_mode=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})
    config.save_pretrained(str(folder))


def _factors(state: dict[str, Tensor], name: str, layer: Any) -> Tensor:
    """(O, 1), taken out of `state`."""
    return state.pop(f"{PREFIX}{name}.ia3_l", torch.ones(layer.out_features, 1))
