"""LoRA with a rank of its own for every layer: from an allocation to a PEFT model, and allocations on disk."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.config.method import AutoLoraConfig, LoraConfig, RankedLoraConfig, Scaling
from autolora_bench.config.variant import Start
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.factors import FACTORS, read_factors, start_from
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.models.export import export
from autolora_bench.models.gpt2 import has_split
from autolora_bench.models.load import Backbone
from autolora_bench.record import write_atomically
from autolora_bench.search import RankAllocation, rank_pattern, verify_applied
from autolora_bench.search.layers import lora_layers
from autolora_bench.untrusted import in_a_line

LowRankConfig = LoraConfig | AutoLoraConfig | RankedLoraConfig | AllocatorConfig
"""Methods that end in training a LoRA."""


def ranked_model(
    backbone: Backbone, context: PhaseContext, config: LowRankConfig, allocation: RankAllocation
) -> PeftModel:
    """PEFT's LoRA with the ranks of `allocation` and the first values that the run computed, if its start needs any.

    A layer of rank 0 has no adapter.

    Raises:
        UserError: every rank is 0, or PEFT did not apply the allocation.
    """
    if config.variant.options and has_split(backbone.model):
        raise UserError(
            f"method.variant.options={config.variant.options} on GPT-2, whose query and value are saved as one layer",
            "say model.targets=[c_attn], or leave the options out",
        )
    try:
        model = lora_model(backbone, context, **lora_options(config, allocation))
    except ValueError as error:
        if not config.variant.options:
            raise
        raise UserError(
            f"PEFT refuses method.variant.options={config.variant.options}: {in_a_line(str(error))}",
            "say other options",
        ) from error
    verify_applied(model, allocation)
    if config.variant.dora:
        _check_rows(model)
    start = config.variant.start
    if start is not Start.lora:
        start_from(model, read_factors(context.folder / FACTORS), start.changes_weights)
    return model


def _check_rows(model: PeftModel) -> None:
    """Raises UserError where DoRA would divide by the length of a row of zeros, as of a tied head's padding token."""
    for name, layer in lora_layers(model).items():
        known = (weight for weight in layer.lora_magnitude_vector.parameters() if not weight.is_meta)
        if not all(bool(torch.all(weight)) for weight in known):
            raise UserError(
                f"{name} has a row of zeros in its weight, which has no direction for DoRA",
                "leave it out of model.targets, or use method=lora",
            )


def lora_options(config: LowRankConfig, allocation: RankAllocation) -> dict[str, Any]:
    """Arguments of `peft.LoraConfig`: ranks, scales and variants.

    A method of one rank keeps its scale for every layer even where EVA gave the layer another rank.

    Raises:
        UserError: every rank is 0.
    """
    variant = config.variant
    options = {
        **variant.options,
        "lora_dropout": config.dropout,
        "use_dora": variant.dora,
        "use_rslora": variant.rslora,
    }
    if isinstance(config, LoraConfig) and set(allocation.ranks) == {config.rank}:
        plain = {"r": config.rank, "lora_alpha": config.alpha, "target_modules": list(allocation.modules)}
        return {**options, **plain}
    scaling = Scaling.constant if isinstance(config, LoraConfig) else config.scaling
    if scaling is Scaling.alpha_over_rank:
        return {**options, **rank_pattern(allocation, scaling, config.alpha)}
    factor = config.alpha / (math.sqrt(config.rank) if variant.rslora else config.rank)
    return {**options, "use_rslora": False, **rank_pattern(allocation, scaling, factor)}


def export_adapter(config: LowRankConfig, model: PeftModel, folder: Path) -> None:
    """Write the adapter into `folder`, two levels below the run's; it loads on the pretrained weights as they are."""
    changed = config.variant.start.changes_weights
    export(model, folder, read_factors(folder.parents[1] / FACTORS) if changed else None)


def write_allocation(allocation: RankAllocation, path: Path) -> None:
    """Save an allocation as JSON. Raises UserError where the folder cannot be written."""
    write_atomically(path, json.dumps(allocation.to_dict(), indent=1))


def read_allocation(path: Path) -> RankAllocation:
    """Load what `write_allocation` saved."""
    return RankAllocation.from_dict(json.loads(path.read_text(encoding="utf-8")))
