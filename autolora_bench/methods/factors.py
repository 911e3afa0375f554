"""First values of LoRA's A and B that were computed before the training: on disk, and in a model.

Shapes: D inputs, O outputs, r rank of a layer; A is (r, D), B is (O, r).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from autolora_bench.search.layers import lora_factors, lora_layers
from autolora_bench.training.weights import save_tensors

FACTORS = "initialise/factors.safetensors"
Factors = Mapping[str, tuple[Tensor, Tensor]]
"""Layer, by its name inside the pretrained model -> A and B."""


def write_factors(factors: Factors, path: Path) -> None:
    """Save as safetensors in single precision, whole or not at all: `<layer>.A` and `<layer>.B`."""
    tensors = {f"{name}.{x}": t for name, pair in factors.items() for x, t in zip("AB", pair, strict=True)}
    save_tensors({name: t.float() for name, t in tensors.items()}, path)


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
        take_off: subtract scale x B A from the pretrained weight, so that the output stays as it was; dropout then acts
            on what training changes alone (`keep_from_dropout`).
    """
    for (name, layer), (a, b) in zip(lora_layers(model).items(), lora_factors(model), strict=True):
        first_a, first_b = factors[name]
        a.copy_(first_a)
        b.copy_(first_b)
        if take_off:
            base: Any = layer.get_base_layer()
            update = layer.scaling[model.active_adapter] * (b.double() @ a.double())
            base.weight.copy_(base.weight.double() - (update.T if isinstance(base, Conv1D) else update))
            keep_from_dropout(layer, model.active_adapter, a, b)


def keep_from_dropout(layer: Any, adapter: str, first_a: Tensor, first_b: Tensor) -> None:
    """Let the dropout of a LoRA layer act on the change of its update alone, not on what the weight gave up for it.

    W x = (W - s B0 A0) x + s B0 A0 x, so that dropout d before A would remove a part of the pretrained weight at every
    step. With s B0 A0 (x - d(x)) added, the layer computes W x + s (B A - B0 A0) d(x): at the start, W x.

    Args:
        layer: PEFT's layer of a Linear or Conv1D, with A and B as they start.
        adapter: the adapter's name.
        first_a, first_b: A0 (r, D) and B0 (O, r).
    """
    dropout = layer.lora_dropout[adapter]
    if not isinstance(dropout, nn.Dropout):
        return
    layer.register_buffer("first_a", first_a.detach().clone(), persistent=False)
    layer.register_buffer("first_b", first_b.detach().clone(), persistent=False)
    dropped: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module.training:
            dropped.append(nn.functional.linear(inputs[0] - output, layer.first_a))

    def restore(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not dropped:
            return output
        kept = nn.functional.linear(dropped.pop(), layer.first_b)
        restored: Tensor = output + (layer.scaling[adapter] * kept).to(output.dtype)
        return restored

    dropout.register_forward_hook(note)
    layer.register_forward_hook(restore)
