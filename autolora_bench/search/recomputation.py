"""Gradient checkpointing, which computes a block's activations anew on the way back, wherever it was asked for.

Not to be confused with a run's checkpoints on disk.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainingArguments

from autolora_bench.errors import require


def recomputes(model: nn.Module, args: TrainingArguments) -> bool:
    """Whether passes recompute activations: by `args`, or because it was switched on in the model itself.

    Raises:
        UserError: the reentrant kind, which gives gradients to `.grad` alone: those asked for by name are lost.
    """
    blocks = [block for block in model.modules() if getattr(block, "gradient_checkpointing", False)]
    asked = bool(args.gradient_checkpointing or getattr(args, "activation_checkpointing", False))
    reentrant = any(_is_reentrant(block) for block in blocks) or (asked and _asks_for_reentrant(args))
    require(
        not reentrant,
        "reentrant gradient checkpointing loses the gradients that the search asks for",
        'say gradient_checkpointing_kwargs={"use_reentrant": False}, or leave gradient checkpointing out',
    )
    return asked or bool(blocks)


def _is_reentrant(block: nn.Module) -> bool:
    """torch takes the reentrant kind where nothing is said."""
    function: Any = getattr(block, "_gradient_checkpointing_func", None)
    keywords = getattr(function, "keywords", None)
    return keywords is not None and keywords.get("use_reentrant") is not False


def _asks_for_reentrant(args: TrainingArguments) -> bool:
    named = ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs")
    options = next((found for name in named if isinstance(found := getattr(args, name, None), dict)), {})
    return bool(options.get("use_reentrant", False))
