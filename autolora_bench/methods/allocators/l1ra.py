"""L1RA (Singh et al., ICNLSP 2025, arXiv:2509.04884): gates with an L1 decay; pruned ranks go to other layers.

The update is s B diag(c) A with gates c that start at 1 and stay in [0, 1]. They have a constant learning rate of
their own and a decoupled L1 decay: after every optimizer step c is lowered by rate x l1. After every `interval_share`
of the training, components whose gate is below `prune_below` are pruned, a layer keeping at least one; as many new
ones are given, in turns, to the layers without such a gate, those with the largest smallest gate first: A drawn anew,
B zero, gate 1. The optimizer then starts afresh (authors' code, raul-singh/L1RA@76be3bb).

The ranks start as even as the total allows and their sum never changes: the budget is met by construction. Beyond the
authors' code: no layer exceeds `maximum_rank`, and where none of those layers has room, the others get the new
ones, where the authors' code would lose the ranks. LoRA is then trained anew, where the paper keeps this training's
weights.
"""

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import TrainerControl, TrainerState, TrainingArguments

from autolora_bench.config.allocators import L1raConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.allocators.allocated import AllocatedLora, Found
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.allocators.gates import (
    add_gates,
    gated_optimizer,
    group_of_gates,
    weigh_components,
)
from autolora_bench.methods.allocators.trained import Allocator, TrainedSearch
from autolora_bench.search import RankAllocation
from autolora_bench.search.layers import lora_factors
from autolora_bench.search.validation import seeded


class L1ra(Allocator):
    """Decays the gates, prunes, and gives the freed ranks to others."""

    def __init__(self, config: L1raConfig, model: PeftModel, budget: Budget) -> None:
        self.config = config
        self.budget = budget
        self.factors = lora_factors(model)
        even = torch.tensor(budget.proportional(torch.ones(len(budget.modules))).ranks)
        self.active = torch.arange(config.maximum_rank) < even[:, None]
        """(L, K): the components that are there."""
        self.spread = len(budget.modules) / budget.total
        """Standard deviation of A's first values: one over the mean rank."""
        for a, _ in self.factors:
            torch.nn.init.normal_(a, std=self.spread)
        self.gates = add_gates(model, self.active.float())
        weigh_components(model, self._present)
        self.optimizer = lambda model, arguments: gated_optimizer(model, arguments, config.gate_learning_rate)
        self.interval = 0
        self.moved = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Steps between two prunings, now that their number is known."""
        self.interval = int(self.config.interval_share * state.max_steps)
        if self.interval == 0:
            raise UserError(
                f"L1RA has no step to prune at: {self.config.interval_share:g} of {state.max_steps} steps is none",
                "train longer (method.search_epochs or search_max_steps), or raise method.interval_share",
            )

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """The gates' learning rate is constant, whatever the schedule."""
        group_of_gates(more["optimizer"])["lr"] = self.config.gate_learning_rate

    @torch.no_grad()
    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """L1 decay; pruning where it is due."""
        c, gates, step = self.config, self.gates(), state.global_step + 1
        gates.sub_(c.gate_learning_rate * c.l1).clamp_(0, 1).mul_(self.active.to(gates.device))
        if step % self.interval == 0 and step < state.max_steps:
            kept, new = reassigned(gates.cpu(), self.active, c.prune_below, max(1, c.minimum_rank))
            self.active = kept | new
            self._start(new, seeded(args.seed, step))
            gates.mul_(self.active.to(gates.device))
            if new.any():
                self.moved += int(new.sum())
                optimizer = more["optimizer"]
                getattr(optimizer, "optimizer", optimizer).state.clear()

    def _present(self) -> Tensor:
        gates = self.gates()
        return gates * self.active.to(gates.device)

    def _start(self, new: Tensor, generator: torch.Generator) -> None:
        """First values of components."""
        for layer, component in new.nonzero().tolist():
            a, b = self.factors[layer]
            a[component] = self.spread * torch.randn(a.shape[1], generator=generator).to(a.device)
            b[:, component] = 0
            self.gates()[layer, component] = 1

    def state(self) -> dict[str, Tensor]:
        """The components that are there."""
        return {"active": self.active, "moved": torch.tensor(self.moved)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put them back."""
        self.active, self.moved = state["active"], int(state["moved"])

    def found(self) -> Found:
        """The ranks that are there, and the gates."""
        gates = self.gates().detach().cpu() * self.active
        ranks = self.active.sum(dim=1).tolist()
        return Found(RankAllocation.from_ranks(self.budget.modules, ranks), gates)

    def details(self) -> dict[str, Any]:
        """How many ranks went from one layer to another."""
        return {"ranks_moved": self.moved}


def reassigned(gates: Tensor, active: Tensor, below: float, least: int) -> tuple[Tensor, Tensor]:
    """(L, K) flags of the components that stay, and of new ones, together as many as `active`.

    Args:
        gates: (L, K).
        active: (L, K) flags of the components that are there.
        below: gates below it are pruned.
        least: components that a layer keeps whatever its gates, the last of them as in the authors' code.
    """
    kept, new = active & (gates >= below), torch.zeros_like(active)
    for layer, flags in enumerate(active):
        if int(kept[layer].sum()) < least:
            kept[layer, flags.nonzero().flatten()[-least:]] = True
    freed = int(active.sum()) - int(kept.sum())
    smallest = gates.masked_fill(~active, torch.inf).amin(dim=1).tolist()
    order = sorted(range(len(gates)), key=lambda layer: -smallest[layer])
    intact = [layer for layer in order if smallest[layer] >= below]
    while freed:
        room = ~(kept | new)
        for layer in [n for n in intact if room[n].any()] or [n for n in order if room[n].any()]:
            if freed:
                new[layer, room[layer].nonzero()[0]] = True
                freed -= 1
    return kept, new


def l1ra(config: L1raConfig) -> AllocatedLora:
    """The method."""
    return AllocatedLora(config, TrainedSearch(config, lambda model, budget: L1ra(config, model, budget)))
