"""Ranks from the singular values of a trained LoRA: the largest over all layers, as many as the budget.

LoRA of `maximum_rank` is trained with one rank everywhere. The singular values of its updates s B A, s the same for all
layers, are what each direction changes the weight by; a layer's rank is how many of its own are among the `total`
largest. The cut is that of PARA (Kumaravelu et al., 2026, arXiv:2604.27796), which prunes a trained adapter at one
threshold for all layers' singular values; here the threshold is where the budget is met, and LoRA is trained anew.
PEFT's `convert_to_lora` cuts every layer by itself, at a share of its own energy, and so cannot keep a budget.
"""

import torch
from peft import PeftModel
from torch import Tensor

from autolora_bench.config.allocators import LoraSvdRanksConfig
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.allocators.trained import Allocator, TrainedSearch
from autolora_bench.search.layers import lora_factors, lora_layers


class SvdRanks(Allocator):
    """Leaves the training alone and decomposes what it made."""

    def __init__(self, model: PeftModel, budget: Budget) -> None:
        self.model = model
        self.budget = budget

    def found(self) -> Found:
        """The singular values, and the ranks of the largest."""
        values = update_singular_values(self.model)
        return Found(self.budget.largest(values), values)


@torch.no_grad()
def update_singular_values(model: PeftModel) -> Tensor:
    """(L, K), largest first: singular values of every layer's scaled update, computed in double precision on the CPU.

    All layers must have the same rank K.
    """
    found = [
        layer.scaling[model.active_adapter] * product_singular_values(b, a)
        for layer, (a, b) in zip(lora_layers(model).values(), lora_factors(model), strict=True)
    ]
    return torch.stack(found)


def product_singular_values(b: Tensor, a: Tensor) -> Tensor:
    """(K,), largest first, of B A with B (O, K) and A (K, D), at the cost of K x K.

    B = Q R and A' = P S give B A = Q (R S') P' with orthonormal columns in Q and P. Where a layer has fewer than K
    inputs or outputs, the values that are missing are zero.
    """
    left = torch.linalg.qr(b.detach().cpu().double(), mode="r").R
    right = torch.linalg.qr(a.detach().cpu().double().T, mode="r").R
    values = torch.linalg.svdvals(left @ right.T)
    return torch.nn.functional.pad(values, (0, a.shape[0] - len(values)))


def lora_svd_ranks(config: LoraSvdRanksConfig) -> AllocatedLora:
    """The method."""
    return AllocatedLora(config, TrainedSearch(config, SvdRanks))
