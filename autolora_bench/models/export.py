"""Writes a trained model so that stock transformers or stock PEFT load it, whatever was changed to train it."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.lora import LoraLayer
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor

from autolora_bench.models.gpt2 import PARTS, SplitProjection, fused_attention, has_split

PREFIX = "base_model.model."
TakenOff = Mapping[str, tuple[Tensor, Tensor]]
"""Layer of the base model -> A (r, D) and B (O, r), whose product at the layer's scale its weight gave up."""


def export(model: Any, folder: Path, taken_off: TakenOff | None = None) -> None:
    """`save_pretrained`, in the original architecture's terms and for its original weights.

    For a GPT-2 whose attention was split, a low-rank adapter becomes one ordinary LoRA of each `c_attn` with the
    rank of query and value together. Where the pretrained weights gave something up, the adapter's rank is twice the
    trained one: W - s B0 A0 + s B A = W + s [B, -B0] [A; A0]. In both cases every update's scale is in its weights, so
    that it loads with scale one. (PEFT's own conversion refuses rsLoRA with a rank per layer.)

    Of an adapted `lm_head` or embedding PEFT would write the base weight too: it is frozen, and of a start that changes
    the weights it is no longer the pretrained one.
    """
    adapted = isinstance(model, PeftModel)
    low_rank = adapted and isinstance(model.active_peft_config, LoraConfig)
    if low_rank and (taken_off or has_split(model)):
        _save_adapter(model, folder, taken_off or {})
    elif has_split(model) and not adapted:
        with fused_attention(model):
            model.save_pretrained(folder)
    else:
        with warnings.catch_warnings():
            # AdaLoRA prunes layers to rank 0; PEFT takes their empty tensors for shards that were not gathered.
            warnings.filterwarnings("ignore", message=r"Adapter .* have invalid shape")
            model.save_pretrained(folder, **({"save_embedding_layers": False} if adapted else {}))


def _save_adapter(model: PeftModel, folder: Path, taken_off: TakenOff) -> None:
    adapter = str(model.active_adapter)
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    kept = {name: weight for name, weight in state.items() if ".lora_" not in name}
    updates = _fused_updates(model, adapter, taken_off)
    for name, (a, b) in updates.items():
        kept[f"{PREFIX}{name}.lora_A.weight"] = a.contiguous()
        kept[f"{PREFIX}{name}.lora_B.weight"] = b.contiguous()
    trained: Any = model.peft_config[adapter]
    dora = bool(getattr(trained, "use_dora", False))
    if dora:
        base = model.get_base_model()
        kept |= {
            f"{PREFIX}{n}.lora_magnitude_vector": _magnitudes(base.get_submodule(n), adapter) for n in updates
        }
    ranks = {f"^{re.escape(name)}": len(a) for name, (a, _) in updates.items()}
    config = LoraConfig(
        task_type=trained.task_type,
        base_model_name_or_path=trained.base_model_name_or_path,
        modules_to_save=trained.modules_to_save,
        target_modules="|".join(ranks),
        r=max(ranks.values()),
        lora_alpha=max(ranks.values()),
        rank_pattern=ranks,
        alpha_pattern=dict(ranks),
        use_dora=dora,
        fan_in_fan_out=trained.fan_in_fan_out or has_split(model),
        inference_mode=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, folder / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})
    config.save_pretrained(str(folder))


def _fused_updates(model: PeftModel, adapter: str, taken_off: TakenOff) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer of the original model -> A (r, D) and B (outputs, r) of its whole update, B A."""
    base = model.get_base_model()
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, module in base.named_modules():
        if isinstance(module, SplitProjection):
            parts = [
                _factors(getattr(module, part), adapter, taken_off.get(f"{name}.{part}")) for part in PARTS
            ]
            if any(len(a) for a, _ in parts):
                found[name] = (torch.cat([a for a, _ in parts]), _blocks([b for _, b in parts]))
        elif isinstance(module, LoraLayer) and not isinstance(_parent(base, name), SplitProjection):
            factors = _factors(module, adapter, taken_off.get(name))
            if len(factors[0]):  # AdaLoRA prunes layers to rank 0, which PEFT refuses in a pattern
                found[name] = factors
    return found


def _parent(model: Any, name: str) -> Any:
    return model.get_submodule(name.rpartition(".")[0])


@torch.no_grad()
def _factors(layer: Any, adapter: str, off: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """On the CPU, A (r, D) and B (O, r) with the layer's scale in B; of rank 0 where there is no adapter, and of twice
    the rank where its weight gave up `off`."""
    if isinstance(layer, LoraLayer) and adapter in layer.lora_A:
        a: Any
        b: Any
        a, b, scale = layer.lora_A[adapter], layer.lora_B[adapter], layer.scaling[adapter]
        if isinstance(layer, AdaLoraLayer):
            return (a * layer.lora_E[adapter]).cpu(), (b * (scale / (layer.ranknum[adapter] + 1e-5))).cpu()
        if off is not None:
            return torch.cat([a.weight.cpu(), off[0]]), torch.cat([b.weight.cpu(), -off[1]], dim=1) * scale
        return a.weight.cpu(), (b.weight * scale).cpu()
    return torch.zeros(0, layer.in_features), torch.zeros(layer.out_features, 0)


@torch.no_grad()
def _magnitudes(layer: Any, adapter: str) -> Tensor:
    """(O,) on the CPU: DoRA's magnitudes; without an adapter those of the weight, which change nothing."""
    if isinstance(layer, SplitProjection):
        return torch.cat([_magnitudes(getattr(layer, part), adapter) for part in PARTS])
    if isinstance(layer, LoraLayer) and adapter in layer.lora_A:
        magnitudes: Any = layer.lora_magnitude_vector[adapter]
        trained: Tensor = magnitudes.weight.cpu()
        return trained
    norms: Tensor = layer.weight.norm(dim=1).cpu()
    return norms


def _blocks(parts: list[Tensor]) -> Tensor:
    """Matrices along a diagonal; one without columns gives rows of zeros."""
    matrix: Tensor = torch.block_diag(*parts)  # type: ignore[no-untyped-call]
    return matrix
