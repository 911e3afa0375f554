"""IA3 on a GPT-2 whose attention was split, in the original architecture's terms: one vector for the whole `c_attn`."""

from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, PeftModel, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor

from autolora_bench.models.gpt2 import PARTS, SplitProjection, has_split

PREFIX = "base_model.model."


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
    config = IA3Config(
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
