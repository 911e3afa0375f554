"""SoRA (Ding et al., EMNLP 2023): gates on LoRA's components, driven to zero by proximal gradient steps.

Section 3.2: the update is s B diag(g) A; g starts from a normal distribution, has no weight decay, and after every
optimizer step goes through the soft threshold T(g) = sign(g) max(|g| - eta lambda, 0) with eta its learning rate.
Components whose gate is zero are gone.

The paper keeps what is not zero and has no way to hit a budget: lambda decides. Here the `total` components with the
largest |g| are kept, which are those that survive where lambda is raised until so many do; where fewer are left,
zeros fill the layers evenly. LoRA is then trained anew, where the paper keeps this training's weights. The authors'
code (TsinghuaC3I/SoRA@c275ac2) differs from the paper in three ways that are not followed: its threshold does not
shrink with the learning rate (3e-4 at a rate of 8e-4), it sets to zero what is below twice the threshold, and it adds
an L1 term to the loss.
"""

from typing import Any

import torch
from peft import PeftModel
from transformers import TrainerControl, TrainerState, TrainingArguments

from autolora_bench.config.allocators import SoraConfig
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.allocators.gates import (
    add_gates,
    gated_optimizer,
    group_of_gates,
    weigh_components,
)
from autolora_bench.methods.allocators.trained import Allocator, TrainedSearch
from autolora_bench.search.layers import lora_layers


class Sora(Allocator):
    """Shrinks the gates after every optimizer step."""

    def __init__(self, config: SoraConfig, model: PeftModel, budget: Budget) -> None:
        self.config = config
        self.budget = budget
        self.gates = add_gates(model, torch.randn(len(lora_layers(model)), config.maximum_rank))
        weigh_components(model, self.gates)
        self.optimizer = lambda model, arguments: gated_optimizer(
            model, arguments, config.gate_learning_rate or arguments.learning_rate
        )

    @torch.no_grad()
    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """The proximal step."""
        rate = group_of_gates(more["optimizer"])["lr"]
        gates = self.gates()
        gates.copy_(torch.nn.functional.softshrink(gates, rate * self.config.l1))

    def found(self) -> Found:
        """The components with the largest gates."""
        sizes = self.gates().detach().abs()
        return Found(self.budget.largest(sizes), sizes)

    def details(self) -> dict[str, Any]:
        """What the gates alone would have kept."""
        return {"gates_not_zero": int(self.gates().count_nonzero())}


def sora(config: SoraConfig) -> AllocatedLora:
    """The method."""
    return AllocatedLora(config, TrainedSearch(config, lambda model, budget: Sora(config, model, budget)))
