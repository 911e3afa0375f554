"""Ranks from the loss's gradient with respect to the adapted weights at the start: its largest singular values.

The gradient is the first step of full fine-tuning; of it a LoRA of rank r can make the first r singular directions. A
layer's rank is how many of its gradient's singular values are among the `total` largest of all layers. Ours, on the
idea behind LoRA-GA (Wang et al., 2024, section 3), which chooses directions by it, not ranks.
"""

import torch
from torch import Tensor

from autolora_bench.config.allocators import LoraGradientRanksConfig
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.one_pass import Look, OnePassSearch


def singular_values(gradients: list[Tensor], components: int) -> Tensor:
    """(L, K), largest first: the first K of every gradient, zero where it has fewer; in double precision on the CPU."""
    found = [torch.linalg.svdvals(g.detach().cpu().double())[:components] for g in gradients]
    return torch.stack([torch.nn.functional.pad(values, (0, components - len(values))) for values in found])


def lora_gradient_ranks(config: LoraGradientRanksConfig) -> AllocatedLora:
    """The method."""

    def find(look: Look) -> Found:
        gradients = look.mean_gradients(config.batches)
        values = singular_values([gradients[name] for name in look.budget.modules], config.maximum_rank)
        return Found(look.budget.largest(values), values)

    return AllocatedLora(config, OnePassSearch(config, find))
