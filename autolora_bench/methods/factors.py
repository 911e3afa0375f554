"""First values of LoRA's A and B that were computed before the training: on disk, and in a model.

Shapes: D inputs, O outputs, r rank of a layer; A is (r, D), B is (O, r).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from autolora_bench.search.layers import lora_factors, lora_layers

FACTORS = "initialise/factors.safetensors"
Factors = Mapping[str, tuple[Tensor, Tensor]]
"""Layer, by its name inside the pretrained model -> A and B."""


def write_factors(factors: Factors, path: Path) -> None:
    """Save as safetensors in single precision, whole or not at all: `<layer>.A` and `<layer>.B`."""
    tensors = {f"{name}.{x}": t for name, pair in factors.items() for x, t in zip("AB", pair, strict=True)}
    temporary = path.with_name(f".{path.name}.writing")
    save_file({name: t.detach().float().cpu().contiguous() for name, t in tensors.items()}, temporary)
    os.replace(temporary, path)


def read_factors(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """What `write_factors` saved."""
    found = load_file(path)
    names = [name.removesuffix(".A") for name in found if name.endswith(".A")]
    return {name: (found[f"{name}.A"], found[f"{name}.B"]) for name in names}


@torch.no_grad()
def start_from(model: PeftModel, factors: Factors, take_off: bool) -> None:
    """Give every layer its first A and B.

    Args:
        model: a fresh LoRA whose B is zero: what depends on the weight alone (DoRA's magnitudes) is there already.
        factors: of all its layers, with their ranks.
        take_off: subtract scale x B A from the pretrained weight, so that the output stays as it was.
    """
    for (name, layer), (a, b) in zip(lora_layers(model).items(), lora_factors(model), strict=True):
        first_a, first_b = factors[name]
        a.copy_(first_a)
        b.copy_(first_b)
        if take_off:
            base: Any = layer.get_base_layer()
            update = layer.scaling[model.active_adapter] * (b.double() @ a.double())
            base.weight.copy_(base.weight.double() - (update.T if isinstance(base, Conv1D) else update))
