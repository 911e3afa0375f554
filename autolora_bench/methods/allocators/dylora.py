"""DyLoRA (Valipour et al., EACL 2023, arXiv:2210.07558): nested ranks trained together, then cut.

Section 4.1: in every optimizer step a rank b is drawn evenly from 1 to `maximum_rank`, the same for all layers; the
update is alpha / b times the first b components, so that earlier ones learn to do without later ones. With `frozen`,
as in the authors' scripts, only the b-th component learns in that step (the paper's "FRZ";
huawei-noah/Efficient-NLP@bb44348).

The paper cuts all layers at one rank and keeps the weights. For ranks within a budget (ours) every layer is cut by
itself: the energy of its first j components, |B_j A_j|_F^2, says what a cut at j keeps, and the ranks are those that
keep the most energy over all layers. They follow from the increments of that energy, made non-increasing in j by
isotonic regression (pooled where a later component adds more than an earlier one): the largest of all layers are
kept, which are always the first of each. LoRA is then trained anew.
"""

from typing import Any

import torch
from peft import PeftModel
from sklearn.isotonic import isotonic_regression
from torch import Tensor
from transformers import TrainerControl, TrainerState, TrainingArguments

from autolora_bench.config.allocators import DyLoraConfig
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.allocators.gates import weigh_components
from autolora_bench.methods.allocators.trained import Allocator, TrainedSearch
from autolora_bench.search.layers import lora_factors
from autolora_bench.search.validation import seeded


class DyLora(Allocator):
    """Draws the rank of every step."""

    def __init__(self, config: DyLoraConfig, model: PeftModel, budget: Budget) -> None:
        self.config = config
        self.budget = budget
        self.factors = lora_factors(model)
        self.rank = config.maximum_rank
        weigh_components(model, self._nested)
        if config.frozen:
            weights: list[tuple[Any, Any]] = [*self.factors]
            for a, b in weights:
                a.register_hook(lambda gradient: gradient * self._learning(gradient)[:, None])
                b.register_hook(lambda gradient: gradient * self._learning(gradient))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Draw the step's rank."""
        draw = torch.randint(self.config.maximum_rank, (1,), generator=seeded(args.seed, state.global_step))
        self.rank = 1 + int(draw)

    def _nested(self) -> Tensor:
        """(L, K): K / b for the first b components, as the layers' own scale is alpha / K."""
        components = self.config.maximum_rank
        a, _ = self.factors[0]
        first = torch.arange(components, device=a.device) < self.rank
        return (first * (components / self.rank)).expand(len(self.factors), -1)

    def _learning(self, like: Tensor) -> Tensor:
        """(K,) flags of the components that learn in this step."""
        return torch.arange(self.config.maximum_rank, device=like.device) == self.rank - 1

    def found(self) -> Found:
        """The cut that keeps the most energy."""
        gains = torch.stack([prefix_gains(b, a) for a, b in self.factors])
        return Found(self.budget.largest(gains), gains)


@torch.no_grad()
def prefix_gains(b: Tensor, a: Tensor) -> Tensor:
    """(K,), non-increasing: what each further component adds to |B_j A_j|_F^2, B (O, K) and A (K, D), pooled.

    |B_j A_j|_F^2 is the sum of the first j x j entries of (B' B) x (A A'), element by element.
    """
    b, a = b.detach().cpu().double(), a.detach().cpu().double()
    energies = ((b.T @ b) * (a @ a.T)).cumsum(0).cumsum(1).diagonal()
    increments = energies.diff(prepend=energies.new_zeros(1))
    return torch.tensor(
        isotonic_regression(increments.numpy(), increasing=False).tolist(), dtype=torch.float64
    )


def dylora(config: DyLoraConfig) -> AllocatedLora:
    """The method."""
    return AllocatedLora(config, TrainedSearch(config, lambda model, budget: DyLora(config, model, budget)))
