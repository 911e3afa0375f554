"""AdaLoRA's rank allocation inside a training phase: PEFT's allocator, called at every optimizer step.

PEFT leaves the call to the user, and a training without it runs to its end with the initial ranks (peft#432, #1801,
#3373). Steps are counted from 1, so that an allocation is final even where `final_share` is 0.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from autolora_bench.errors import UserError
from autolora_bench.record import write_atomically
from autolora_bench.training.finetune import WEIGHTS
from autolora_bench.training.method_hooks import MethodHooks
from autolora_bench.training.weights import load_trainable

UNKNOWN = 1_000_000_000
"""Stands for the number of steps until the training knows it."""
KEPT = "rank_pattern.json"
POINTS = 50
"""Points of the budget's course in the record."""
FEWEST = 1
"""Steps that importance is gathered in before the last allocation, which gathers none itself."""
SMOOTHED = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""The allocator's tables, one tensor per weight."""
Parts = Callable[[int], tuple[int, int]]
"""Steps of a training -> how many of them, at its beginning and at its end, allocate nothing."""


class RankSchedule(MethodHooks):
    """Scores and prunes triplets between a step's update and the removal of its gradients.

    Args:
        model: PEFT's AdaLoRA model, made with orth_reg_weight 0.
        parts: the schedule.
        orthogonality: weight of the penalty (gamma).
        mend: how to say a schedule that leaves steps to allocate in.
    """

    def __init__(self, model: PeftModel, parts: Parts, orthogonality: float, mend: str) -> None:
        adapter = model.peft_config[model.active_adapter]
        assert isinstance(adapter, peft.AdaLoraConfig)
        self.model = model
        self.parts, self.orthogonality, self.mend = parts, orthogonality, mend
        self.adapter = adapter
        self.tuner: Any = model.base_model
        self.allocator: Any = self.tuner.rankallocator
        weights = dict(model.named_parameters())
        self.right = [weight for name, weight in weights.items() if ".lora_A." in name]
        self.left = [weight for name, weight in weights.items() if ".lora_B." in name]
        self.allocations = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Steps of the three parts, now that their sum is known."""
        steps = state.max_steps
        self.adapter.total_step = steps
        self.adapter.tinit, self.adapter.tfinal = self.parts(steps)
        if max(self.adapter.tinit, FEWEST) >= self.final_step:
            raise UserError(
                f"AdaLoRA has no step to allocate ranks in: {steps} steps, of which the first {self.adapter.tinit} "
                f"and the last {self.adapter.tfinal} do not",
                f"train longer, or lower {self.mend}",
            )

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Update the importance of every triplet from its gradient, and prune where it is due."""
        step = state.global_step + 1
        due = self.allocator.budget_schedule(step)[1] and step < self.final_step
        self.tuner.update_and_allocate(step)
        self.allocations += int(due or step == self.final_step)

    @property
    def final_step(self) -> int:
        """The step of the last allocation."""
        return int(self.adapter.total_step or 0) - self.adapter.tfinal

    def penalty(self) -> Tensor | None:
        """gamma times the mean over A and B of |A A^T - I|, |B^T B - I| (Frobenius; PEFT 0.21's own formula)."""
        if not self.orthogonality:
            return None
        products = [a @ a.T for a in self.right] + [b.T @ b for b in self.left]
        deviations = [torch.linalg.norm(p - torch.eye(len(p), device=p.device)) for p in products]
        return self.orthogonality * torch.stack(deviations).mean()

    def may_keep(self, step: int) -> bool:
        """Only weights of the final ranks: those before have a larger budget."""
        return step >= self.final_step

    def state(self) -> dict[str, Tensor]:
        """The allocator's averages, the triplets that are left, the number of allocations."""
        found = {f"{table}/{n}": t for table in SMOOTHED for n, t in getattr(self.allocator, table).items()}
        pattern = {f"kept/{n}": torch.tensor(kept) for n, kept in (self.adapter.rank_pattern or {}).items()}
        return {**found, **pattern, "allocations": torch.tensor(self.allocations)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put them back."""
        self.allocations = int(state["allocations"])
        self.adapter.rank_pattern = {n: t.tolist() for n, t in _under("kept", state).items()} or None
        for table in SMOOTHED:
            setattr(
                self.allocator, table, {n: t.to(self.model.device) for n, t in _under(table, state).items()}
            )

    def finish(self) -> None:
        """Remove the pruned triplets. Raises UserError where no allocation step ran."""
        if not self.allocations or self.adapter.rank_pattern is None:
            raise UserError(
                "no step of AdaLoRA's rank allocation ran: the result would be LoRA of the initial rank",
                "train for more optimizer steps",
            )
        prune(self.model, self.adapter.rank_pattern)

    def details(self) -> dict[str, Any]:
        """The budget's course and what came of it."""
        a, steps = self.adapter, int(self.adapter.total_step or 0)
        shown = sorted({round(i * steps / POINTS) for i in range(1, POINTS + 1)} - {0} | {self.final_step})
        return {
            "initial_budget": self.allocator.init_bgt,
            "target_budget": self.allocator.target_bgt,
            "total_rank": sum(sum(kept) for kept in (a.rank_pattern or {}).values()),
            "steps": {"total": steps, "initial": a.tinit, "final": a.tfinal, "interval": a.deltaT},
            "allocations": self.allocations,
            "budget": [[step, self._budget(step)] for step in shown],
        }

    def _budget(self, step: int) -> int:
        return int(self.allocator.budget_schedule(step)[0])


def prune(model: PeftModel, pattern: dict[str, list[bool]]) -> None:
    """Leave only the triplets that are flagged in `pattern` (name of a layer's lora_E -> r flags), in place."""
    tuner: Any = model.base_model
    tuner.resize_modules_by_rank_pattern(pattern, model.active_adapter)


def prepare_export(model: PeftModel, orthogonality: float, folder: Path) -> None:
    """Write into the training's folder which triplets are left, for `rebuilt`, and say in PEFT's configuration what
    weight the penalty had."""
    trained: Any = model.active_peft_config
    write_atomically(folder / KEPT, json.dumps(trained.rank_pattern))
    trained.orth_reg_weight = orthogonality


def rebuilt(model: PeftModel, folder: Path, device: torch.device) -> nn.Module:
    """`model`, freshly adapted, with the triplets and the weights that the training in `folder` has left; in place."""
    prune(model, json.loads((folder / KEPT).read_text(encoding="utf-8")))
    load_trainable(model, folder / WEIGHTS)
    return model.to(device)


def _under(table: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{table}/"): t for name, t in state.items() if name.startswith(f"{table}/")}
