"""Optimizers of LoRA's variants: LoRA+ and LoRA-Pro."""

from collections.abc import Callable
from typing import Any

from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from torch.optim import Optimizer
from transformers import Trainer, TrainingArguments

from autolora_bench.config.variant import VariantConfig
from autolora_bench.search.layers import lora_layers
from autolora_bench.training.lora_pro import LoraProAdamW

MakeOptimizer = Callable[[Any, TrainingArguments], Optimizer]
"""Adapted model and the training's arguments -> its optimizer."""


def optimizer_of(variant: VariantConfig) -> MakeOptimizer | None:
    """The variant's own optimizer; none leaves it to the Trainer."""
    if variant.lora_pro:
        return _lora_pro
    if variant.rate_ratio != 1:
        return lambda model, arguments: _lora_plus(model, arguments, variant.rate_ratio)
    return None


def _lora_plus(model: PeftModel, arguments: TrainingArguments, ratio: float) -> Optimizer:
    """PEFT's: B, and as in the authors' code every trained vector, at `ratio` times the learning rate."""
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    rate = options.pop("lr")
    decay = arguments.weight_decay
    return create_loraplus_optimizer(
        model, kind, lr=rate, loraplus_lr_ratio=ratio, loraplus_weight_decay=decay, **options
    )


def _lora_pro(model: PeftModel, arguments: TrainingArguments) -> Optimizer:
    adapter = model.active_adapter
    pairs: list[Any] = [
        (layer.lora_A[adapter].weight, layer.lora_B[adapter].weight, layer.scaling[adapter])
        for layer in lora_layers(model).values()
    ]
    paired = {id(weight) for a, b, _ in pairs for weight in (a, b)}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in paired]
    return LoraProAdamW(
        pairs,
        others,
        lr=arguments.learning_rate,
        betas=(arguments.adam_beta1, arguments.adam_beta2),
        eps=arguments.adam_epsilon,
        weight_decay=arguments.weight_decay,
    )
