"""Loads a pretrained model with a task's head, and its tokenizer."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from autolora_bench.backbone.gpt2 import PARTS, split_attention
from autolora_bench.backbone.hub import available
from autolora_bench.backbone.locate import Location, locate
from autolora_bench.backbone.mpnet import ask_registry, mpnet_with_sdpa
from autolora_bench.backbone.targets import target_modules
from autolora_bench.config.model import ALL_LINEAR, Attention, ModelConfig
from autolora_bench.errors import UserError


class HeadKind(Enum):
    """What a task puts on top of the backbone."""

    sequence = AutoModelForSequenceClassification
    tokens = AutoModelForTokenClassification
    language_model = AutoModelForCausalLM


@dataclass(frozen=True)
class HeadSpec:
    """The head a task needs; `labels` is empty for a language model, one name for a regression."""

    kind: HeadKind
    labels: tuple[str, ...] = ()
    regression: bool = False


@dataclass
class Backbone:
    """A model ready to be adapted."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    head_modules: list[str]
    """Modules that are not in the checkpoint, or were never trained in it: every method trains them."""
    targets: list[str]
    """Full names of the layers that low-rank methods adapt."""
    source: dict[str, Any] = field(default_factory=dict)
    """Where the weights came from, for the record."""


def load_tokenizer(config: ModelConfig, head: HeadSpec) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with a padding token; for a token head one that takes sentences as words.

    Raises:
        UserError: the model cannot be found or read.
    """
    location = available(locate(config))
    tokenizer = _read(AutoTokenizer, location, config)
    if head.kind is HeadKind.tokens and getattr(tokenizer, "add_prefix_space", True) is False:
        tokenizer = _read(AutoTokenizer, location, config, add_prefix_space=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def load_backbone(config: ModelConfig, head: HeadSpec) -> Backbone:
    """Load the weights, draw the head's first values from torch's global generator, find the target layers.

    Raises:
        UserError: the model cannot be found or read, none of its layers matches `config.targets`, or
            `config.untrained` names something else than a linear layer.
    """
    location = available(locate(config))
    tokenizer = load_tokenizer(config, head)
    options: dict[str, Any] = {
        "attn_implementation": config.attention.name,
        "use_safetensors": True,
        "dtype": torch.float32,
    }
    if head.labels:
        options["num_labels"] = len(head.labels)
        options["id2label"] = dict(enumerate(head.labels))
        options["label2id"] = {label: index for index, label in enumerate(head.labels)}
    if head.regression:
        options["problem_type"] = "regression"
    with mpnet_with_sdpa():
        model, loading = _read(head.kind.value, location, config, output_loading_info=True, **options)
    _check_architecture(model.config.model_type, config)
    if config.attention is Attention.sdpa:
        ask_registry(model)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    if model.config.model_type == "gpt2" and _adapts_parts(config):
        split_attention(model)
    new = _new_modules(model, set(loading["missing_keys"])) + _drawn_anew(model, config.untrained)
    source = {
        "name": location.label,
        "kind": location.kind,
        "revision": location.revision,
        "commit": Path(location.source).name if location.kind == "hub" else None,
        "sha256": config.sha256,
    }
    return Backbone(model, tokenizer, new, target_modules(model, config), source)


def _check_architecture(found: str, config: ModelConfig) -> None:
    """Raises UserError where the weights are not of the architecture that the configuration states."""
    if config.architecture not in (None, found):
        raise UserError(
            f"model={config.name} states model.architecture={config.architecture}, its weights are of a {found} model",
            f"say model.architecture={found}, or name other weights",
        )


def _adapts_parts(config: ModelConfig) -> bool:
    """Whether query, key or value of GPT-2 are adapted by themselves, and not `c_attn` as a whole."""
    return config.targets in (None, [ALL_LINEAR]) or any(
        target.split(".")[-1] in PARTS for target in config.targets or []
    )


def _new_modules(model: PreTrainedModel, missing: set[str]) -> list[str]:
    """Topmost modules whose weights are all missing from the checkpoint."""
    found: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{parent}.") for parent in found)
        weights = [f"{name}.{weight}" for weight, _ in module.named_parameters()]
        if name and not inside and weights and missing.issuperset(weights):
            found.append(name)
    return found


def _drawn_anew(model: PreTrainedModel, endings: list[str]) -> list[str]:
    """Give the linear layers with these endings first values, as transformers gives a new head; their names."""
    found = []
    for name, module in model.named_modules():
        if any(f".{name}".endswith(f".{ending}") for ending in endings):
            if not isinstance(module, nn.Linear):
                raise UserError(f"model.untrained: {name} is not a linear layer", "name linear layers")
            nn.init.normal_(module.weight, std=model.config.initializer_range)
            nn.init.zeros_(module.bias)
            found.append(name)
    return found


def _read(kind: Any, location: Location, config: ModelConfig, **options: Any) -> Any:
    try:
        return kind.from_pretrained(
            location.source, revision=location.revision, trust_remote_code=False, **options
        )
    except (OSError, ValueError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"cannot load a model from {location.source}: {first}", "see README: Models"
        ) from error
