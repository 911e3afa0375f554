"""Optimizers of LoRA: LoRA+'s, LoRA-Pro's, DoRA's, which does not decay magnitudes, and one with a rate per layer."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainingArguments

from autolora_bench.config.variant import VariantConfig
from autolora_bench.search.layers import lora_layers
from autolora_bench.training.lora_pro import LoraProAdamW
from autolora_bench.training.weight_groups import WeightGroups, adamw

MakeOptimizer = Callable[[Any, TrainingArguments, WeightGroups], Optimizer]
"""Adapted model, the training's arguments and what is decayed -> its optimizer."""


def optimizer_of(variant: VariantConfig) -> MakeOptimizer | None:
    """The variant's own optimizer; none leaves it to the Trainer."""
    if variant.lora_pro:
        return _lora_pro
    if variant.rate_ratio != 1:
        return lambda model, arguments, groups: _lora_plus(model, arguments, groups, variant.rate_ratio)
    return adamw if variant.dora else None


def _lora_plus(
    model: nn.Module, arguments: TrainingArguments, groups: WeightGroups, ratio: float
) -> Optimizer:
    """LoRA+ (Hayou et al., 2024): B, and as in the authors' code every vector of LoRA's, at `ratio` times the rate.

    The head, its biases too, keeps the training's rate: the authors' code (nikhil-ghosh-berkeley/loraplus) and PEFT's
    `create_loraplus_optimizer` take any trained vector for one of LoRA's, and give a classifier's bias the ratio.
    """

    def rate(name: str, weight: nn.Parameter) -> float:
        return ratio if "lora_B" in name or weight.ndim == 1 else 1.0

    return adamw(model, arguments, groups, rate)


def with_rates(multiples: Mapping[str, tuple[float, float]], decay: float = 1.0) -> MakeOptimizer:
    """AdamW with rates of their own for A and B of every layer, as multiples of the training's; all else has that.

    Args:
        multiples: layer, by its name in the base model -> of A, of B.
        decay: multiple of the weight decay of all but the head.
    """

    def make(model: Any, arguments: TrainingArguments, groups: WeightGroups) -> Optimizer:
        pairs = zip(multiples.values(), _factors(model, multiples), strict=True)
        of = {
            id(weight): rate for rates, weights in pairs for weight, rate in zip(weights, rates, strict=True)
        }
        own = arguments.weight_decay if groups.weight_decay is None else groups.weight_decay
        scaled = groups if decay == 1 else replace(groups, weight_decay=own * decay)
        return adamw(model, arguments, scaled, lambda name, weight: of.get(id(weight), 1.0))

    return make


def _factors(model: Any, names: Iterable[str]) -> list[tuple[nn.Parameter, nn.Parameter]]:
    adapter, layers = model.active_adapter, lora_layers(model)
    found: list[Any] = [
        (layers[name].lora_A[adapter].weight, layers[name].lora_B[adapter].weight) for name in names
    ]
    return found


def _lora_pro(model: Any, arguments: TrainingArguments, groups: WeightGroups) -> Optimizer:
    adapter = model.active_adapter
    pairs: list[Any] = [
        (layer.lora_A[adapter].weight, layer.lora_B[adapter].weight, layer.scaling[adapter])
        for layer in lora_layers(model).values()
    ]
    paired = {id(weight) for a, b, _ in pairs for weight in (a, b)}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in paired]
    own = arguments.weight_decay if groups.weight_decay is None else groups.weight_decay
    return LoraProAdamW(
        pairs,
        others,
        pairs_decay=own,
        lr=arguments.learning_rate,
        betas=(arguments.adam_beta1, arguments.adam_beta2),
        eps=arguments.adam_epsilon,
        weight_decay=arguments.weight_decay,
    )
