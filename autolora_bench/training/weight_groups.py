"""Which trained weights are decayed, and how much, as groups for AdamW.

The head's weights are every method's: they have the training's weight decay and learning rate whatever the method asks
for its own, so that a difference between two rows is not one of their heads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import Trainer, TrainingArguments
from transformers.trainer_pt_utils import get_parameter_names

from autolora_bench.config.train import TrainConfig

NEVER_DECAYED = (r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)")
"""Patterns of names, as in transformers' Trainer (5.23), which also leaves out what is inside a LayerNorm."""
MAGNITUDE = "lora_magnitude_vector"
"""In the names of DoRA's magnitudes. They start at the norms of the weight's rows, not at 0, so decay would pull them
away from the pretrained weight: its authors decay nothing (NVlabs/DoRA, commonsense_reasoning/finetune.py)."""

Rate = Callable[[str, nn.Parameter], float]
"""Name and weight of the method's own -> its learning rate as a multiple of the training's."""


def is_head(name: str, modules: Sequence[str]) -> bool:
    """Whether a weight of the adapted model belongs to the task's head, whose modules are `modules`."""
    return any(f".{module}." in f".{name}" for module in modules)


@dataclass(frozen=True)
class WeightGroups:
    """How the method's own weights are told from the head's, and decayed."""

    head_modules: Sequence[str] = ()
    """Backbone.head_modules."""
    weight_decay: float | None = None
    """Of the method's own weights; None takes the training's."""

    def is_head(self, name: str) -> bool:
        """Whether a weight of the adapted model belongs to the head."""
        return is_head(name, self.head_modules)

    def groups(
        self, model: nn.Module, arguments: TrainingArguments, rate: Rate = lambda name, weight: 1.0
    ) -> list[dict[str, Any]]:
        """Parameter groups of all weights that require a gradient, in the model's order within each group."""
        decayed = set(get_parameter_names(model, [nn.LayerNorm], list(NEVER_DECAYED)))  # type: ignore[no-untyped-call]
        own = arguments.weight_decay if self.weight_decay is None else self.weight_decay
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, weight in model.named_parameters():
            if not weight.requires_grad:
                continue
            head = self.is_head(name)
            decay = arguments.weight_decay if head else own
            decay = decay if name in decayed and MAGNITUDE not in name else 0.0
            learns = arguments.learning_rate * (1.0 if head else rate(name, weight))
            groups.setdefault((decay, learns), []).append(weight)
        return [
            {"params": weights, "weight_decay": decay, "lr": learns}
            for (decay, learns), weights in groups.items()
        ]


def adamw(
    model: nn.Module,
    arguments: TrainingArguments,
    groups: WeightGroups,
    rate: Rate = lambda name, weight: 1.0,
) -> Optimizer:
    """The Trainer's own optimizer over these groups."""
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    optimizer: Optimizer = kind(groups.groups(model, arguments, rate), **options)
    return optimizer


@dataclass(frozen=True)
class HeadRate:
    """A learning rate of the task's head alone (train.head_learning_rate)."""

    modules: Sequence[str]
    """Names of the head's modules in the pretrained model, such as classifier."""
    rate: float

    def apply(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Move the head's weights into parameter groups of their own, which differ in their peak rate alone.

        Call it before a scheduler is made: that reads the peak rates. A second call changes nothing.
        """
        head = {id(weight) for name, weight in model.named_parameters() if is_head(name, self.modules)}
        for group in list(optimizer.param_groups):
            inside = [weight for weight in group["params"] if id(weight) in head]
            if inside and not group.get("head"):
                group["params"] = [weight for weight in group["params"] if id(weight) not in head]
                optimizer.add_param_group({**group, "params": inside, "lr": self.rate, "head": True})
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


def head_rate(train: TrainConfig, modules: Sequence[str]) -> HeadRate | None:
    """What train.head_learning_rate asks for, of the head's `modules`."""
    return None if train.head_learning_rate is None else HeadRate(modules, train.head_learning_rate)
