"""Writes what a type of PEFT has trained, so that stock PEFT or transformers load it."""

import copy
import warnings
from pathlib import Path
from typing import Any

from peft import PeftModel

from autolora_bench.models.gpt2 import fused_attention
from autolora_bench.models.load import Backbone


def export_peft(model: PeftModel, backbone: Backbone, folder: Path) -> None:
    """PEFT's own format; the merged model where that has no place for the task's head."""
    if backbone.head_modules and not getattr(model.active_peft_config, "modules_to_save", None):
        whole: Any = copy.deepcopy(model)
        merged = whole.merge_and_unload()
        with fused_attention(merged):
            merged.save_pretrained(folder)
        return
    with warnings.catch_warnings():
        # AdaLoRA prunes layers to rank 0; PEFT takes their empty tensors for shards that were not gathered.
        warnings.filterwarnings("ignore", message=r"Adapter .* have invalid shape")
        model.save_pretrained(str(folder))
