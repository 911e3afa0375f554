"""A factor on every component of every LoRA layer, and an optimizer for factors that are trained.

The update of layer l is s sum_j f_lj b_lj a_lj', by a forward hook on PEFT's `lora_A` as in the search
(search.selection), so that PEFT stays as it is. Shapes: L layers, K components.
"""

from collections.abc import Callable
from typing import Any

from peft import PeftModel
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Trainer, TrainingArguments

from autolora_bench.search.layers import lora_layers

GATES = "gates"
"""Marks their parameter group."""


def weigh_components(model: PeftModel, factors: Callable[[], Tensor]) -> None:
    """Multiply the components of `model` by `factors` (L, K), asked for anew in every pass."""
    for index, layer in enumerate(lora_layers(model).values()):
        layer.lora_A[model.active_adapter].register_forward_hook(_Factor(factors, index))


class _Factor:
    def __init__(self, factors: Callable[[], Tensor], layer: int) -> None:
        self.factors = factors
        self.layer = layer

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output * self.factors()[self.layer].to(output.dtype)


def add_gates(model: PeftModel, initial: Tensor) -> Callable[[], nn.Parameter]:
    """Give `model` a trained parameter `gates` (L, K), which checkpoints then hold; how to get it, wherever it is."""
    model.register_parameter("gates", nn.Parameter(initial.to(next(model.parameters()).device)))

    def gates() -> nn.Parameter:
        found = model.gates
        assert isinstance(found, nn.Parameter)
        return found

    return gates


def gated_optimizer(model: PeftModel, arguments: TrainingArguments, rate: float) -> Optimizer:
    """The Trainer's optimizer, with the gates in a group of their own: learning rate `rate`, no weight decay."""
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    gates = model.gates
    others = [p for p in model.parameters() if p.requires_grad and p is not gates]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": arguments.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        {"params": [gates], "weight_decay": 0.0, "lr": rate, GATES: True},
    ]
    optimizer: Optimizer = kind([group for group in groups if group["params"]], **options)
    return optimizer


def group_of_gates(optimizer: Optimizer) -> dict[str, Any]:
    """The gates' parameter group of a `gated_optimizer`, wherever it stands among those that others add."""
    return next(group for group in optimizer.param_groups if group.get(GATES))
