"""FIM-LoRA (Sathyavageeswaran, 2026, arXiv:2605.16800): ranks in proportion to the gradient variance of each B.

A layer's score is the mean, over the elements of B and over a few calibration batches, of the squared gradient at
LoRA's start: the diagonal of the empirical Fisher information. A layer's rank is its share of the budget, at least 1
and at most twice the mean (the paper's bounds, `minimum_rank` and `maximum_rank`).

The author's pull request (huggingface/peft#3204) squares A's gradients, as the paper does not; they are zero while B
is, and all ranks would be equal. It also cuts to the bounds after rounding, so that its sum is not the budget; here
what is cut goes to the other layers.
"""

import torch
from torch import Tensor

from autolora_bench.config.allocators import FimConfig
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.one_pass import Look, OnePassSearch
from autolora_bench.methods.first_gradients import mean_loss
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.search.layers import lora_factors


def mean_squared_gradients(look: Look, config: FimConfig) -> Tensor:
    """(L,): of every layer's B, in training mode, for LoRA of the mean rank."""
    model = lora_model(
        look.backbone,
        look.context,
        r=max(1, round(look.budget.total / len(look.budget.modules))),
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=look.backbone.targets,
    ).to(look.context.device)
    model.requires_grad_(False)
    factors = [b.requires_grad_(True) for _, b in lora_factors(model)]
    model.train()
    loss = mean_loss(look.context)
    sums, read = torch.zeros(len(factors), dtype=torch.float64), 0
    for pieces in look.batches.whole(config.batches, look.accumulation):
        for piece, share in pieces:
            torch.autograd.backward(loss(model, piece) * share)
        sums += torch.stack([b.grad.double().square().mean().cpu() for b in factors if b.grad is not None])
        model.zero_grad()
        read += 1
    return sums / read


def fim(config: FimConfig) -> AllocatedLora:
    """The method."""

    def find(look: Look) -> Found:
        scores = mean_squared_gradients(look, config)
        return Found(look.budget.proportional(scores), scores)

    return AllocatedLora(config, OnePassSearch(config, find))
