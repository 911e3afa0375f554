"""LoRA with a rank of its own for every layer: from an allocation to a PEFT model, and allocations on disk."""

import json
from pathlib import Path

from peft import PeftModel

from autolora_bench.backbone.load import Backbone
from autolora_bench.config.method import AutoLoraConfig, RankedLoraConfig, Scaling
from autolora_bench.methods.base import PhaseContext
from autolora_bench.methods.lora import lora_model
from autolora_bench.record import write_atomically
from autolora_bench.search import RankAllocation, rank_pattern, verify_applied


def ranked_model(
    backbone: Backbone,
    context: PhaseContext,
    config: AutoLoraConfig | RankedLoraConfig,
    allocation: RankAllocation,
) -> PeftModel:
    """PEFT's LoRA with the ranks of `allocation`; a layer of rank 0 has no adapter.

    Raises:
        UserError: every rank is 0, or PEFT did not apply the allocation.
    """
    constant = config.scaling is Scaling.constant
    scale = config.alpha / config.rank if constant else config.alpha
    pattern = rank_pattern(allocation, config.scaling, scale)
    model = lora_model(backbone, context, lora_dropout=config.dropout, **pattern)
    verify_applied(model, allocation)
    return model


def write_allocation(allocation: RankAllocation, path: Path) -> None:
    """Save an allocation as JSON. Raises UserError where the folder cannot be written."""
    write_atomically(path, json.dumps(allocation.to_dict(), indent=1))


def read_allocation(path: Path) -> RankAllocation:
    """Load what `write_allocation` saved."""
    return RankAllocation.from_dict(json.loads(path.read_text(encoding="utf-8")))
