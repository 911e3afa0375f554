"""Which layers of a model are adapted: the query and value projections, as in the paper, all, or those asked for."""

import re
from collections.abc import Sequence
from typing import Any

from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.architectures import query_and_value
from autolora_bench.config.model import ALL_LINEAR, ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models.adapted_layers import IN_BLOCK


def target_modules(model: PreTrainedModel, config: ModelConfig, trained: Sequence[str] = ()) -> list[str]:
    """Full names of the adapted layers, in the model's order.

    Where neither `config.targets` nor the tables of architectures, ours and PEFT's, name them, these are all linear
    layers of the blocks. Layers that every method trains in full, as the head's, are not among them.

    Raises:
        UserError: no layer matches, or one that is trained in full alone.
    """
    endings = config.targets or known_targets(model.config.model_type)
    named = named_layers(model, endings, "model.targets", config.name)
    whole = tuple(f"{name}." for name in trained)
    found = [name for name in named if not f"{name}.".startswith(whole)]
    for ending in config.targets or ():
        if ending != ALL_LINEAR and not any(_ends_in(name, [ending]) for name in found):
            raise UserError(
                f"model.targets: every method trains {ending!r} of {config.name!r} in full: no adapter goes there",
                "leave it out: it belongs to the head, or model.untrained names it",
            )
    return found


def named_layers(model: PreTrainedModel, endings: Sequence[str], setting: str, title: str) -> list[str]:
    """Full names of the linear layers with these ends, or of all in the blocks for ALL_LINEAR, in the model's order.

    Args:
        model: the model.
        endings: ends of names.
        setting: where they were said, for messages.
        title: the model's name, for messages.

    Raises:
        UserError: no layer matches one of them.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    known = sorted({re.sub(r"^.*\.", "", name) for name in linear})
    if list(endings) == [ALL_LINEAR]:
        found = [name for name in linear if re.search(IN_BLOCK, name)]
        if not found:
            raise UserError(
                f"a {model.config.model_type} model has no numbered blocks: which of its layers to adapt is not known",
                f"say {setting}=[...] with names among: {', '.join(known)}",
            )
        return found
    found = [name for name in linear if _ends_in(name, endings)]
    missing = [ending for ending in endings if not any(_ends_in(name, [ending]) for name in found)]
    if missing:
        raise UserError(
            f"{setting}: no linear layer of {title!r} is called {missing[0]!r}",
            f"choose among: {', '.join(known)}",
        )
    return found


def _ends_in(name: str, endings: Sequence[str]) -> bool:
    return any(f".{name}".endswith(f".{ending}") for ending in endings)


def known_targets(architecture: str) -> list[str]:
    """What is adapted of an architecture unless it is said: by our table, else PEFT's, else all linear layers."""
    ours = query_and_value(architecture)
    if ours:
        return list(ours)
    named = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(architecture)
    return list(named) if isinstance(named, list | tuple) else [ALL_LINEAR]


def check_own_weight(model: PreTrainedModel, name: str, reason: str) -> None:
    """Raises UserError, with the reason, where a layer's weight is another's too, as of tied embeddings."""
    weight: Any = model.get_submodule(name).weight
    sharing = [other for other, one in model.named_parameters(remove_duplicate=False) if one is weight]
    if len(sharing) > 1:
        raise UserError(
            f"{' and '.join(sharing)} are one weight: {reason}", "name other layers with model.targets=[...]"
        )
