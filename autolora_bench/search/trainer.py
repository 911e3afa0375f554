"""The search as a Hugging Face Trainer: weights and selection variables in turn, with one optimizer.

AutoLoRA, section 3. The Trainer's own step moves the weights (beta has no gradient then). Right after it, while
the weights' `.grad` and the moments are still those of that step, the hypergradient becomes beta's gradient, the
weights' gradients are removed, and the same optimizer steps again: only beta moves. So a checkpoint's optimizer
holds both. Under mirror descent beta has a parameter group, for its learning rate, but no moments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import TrainingArguments

from autolora_bench.config.search import SelectionOptimizer
from autolora_bench.search.bilevel import BilevelTrainer
from autolora_bench.search.hypergradient import InnerStep, estimator
from autolora_bench.search.hypergradient.base import Terms
from autolora_bench.search.hypergradient.step import InnerLoop
from autolora_bench.search.hypergradient.unrolled import Unrolled
from autolora_bench.search.layers import lora_factors
from autolora_bench.search.options import SearchOptions, check_recomputation, check_supported
from autolora_bench.search.ranks import RankAllocation
from autolora_bench.search.selection import Selection, attach
from autolora_bench.search.storage import load_selection, save_selection


def exact_terms(step: InnerStep) -> Terms:
    """Exact terms (L, K) of remembered steps; call it after the optimizer step and before the estimator's
    `terms`, so that both validation passes draw the same masks."""
    exact = Unrolled()
    with step.preserved_random_state():
        exact.replay(step, [*step.past, step])
        return exact.terms(step)


def compare(terms: Terms, exact: Terms) -> dict[str, float]:
    """How good is the estimator in use? Cosine of the two totals, and the norms of each term, for the log.

    The comparison leaves no trace in the run: it draws from saved random states, works on copies of the weights, and
    writes to no `.grad`. Where attention dropout is drawn inside a fused kernel (CUDA), the exact pass, whose attention
    must be twice differentiable, cannot repeat those masks and the cosine also shows their noise.
    """
    cosine = torch.nn.functional.cosine_similarity(terms.total.flatten(), exact.total.flatten(), dim=0)
    return {
        "hypergradient_cosine": cosine.item(),
        "hypergradient_direct_norm": terms.direct.norm().item(),
        "hypergradient_implicit_norm": terms.implicit.norm().item(),
        "hypergradient_exact_implicit_norm": exact.implicit.norm().item(),
    }


class SearchTrainer(BilevelTrainer):
    """Trains LoRA, head and selection variables together.

    Args:
        model: PEFT LoRA model of one rank; the selection is attached here (`detach(trainer.handles)` undoes
            it).
        args: of the weights: optimizer, learning rate, schedule, clipping, batch size, precision,
            checkpoints.
        train_dataset: D_tr.
        validation_dataset: D_val, the other half of the training data. Not the evaluation set.
        selection: see `selection_for`.
        options: see `SearchOptions`.
        trajectory: file of alpha over time; `trajectory.jsonl` in the output folder by default.
        trainer_arguments: everything else that `transformers.Trainer` takes.

    Raises:
        UserError: a combination of model, args and options that would not compute what it says.
    """

    options: SearchOptions

    def __init__(
        self,
        *,
        model: PeftModel,
        args: TrainingArguments,
        train_dataset: Any,
        validation_dataset: Any,
        selection: Selection,
        options: SearchOptions | None = None,
        trajectory: str | Path | None = None,
        **trainer_arguments: Any,
    ) -> None:
        options = options or SearchOptions()
        self.hypergradient = estimator(options.estimator)
        check_supported(model, args, options, self.hypergradient)
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            validation_dataset=validation_dataset,
            options=options,
            trajectory=trajectory,
            **trainer_arguments,
        )
        self.selection = selection.to(args.device)
        self.handles = attach(model, self.selection)
        self._factors = lora_factors(model)

    @property
    def outer(self) -> Tensor:
        """Alpha (L, K)."""
        return self.selection.current

    def allocation(self) -> RankAllocation:
        """Ranks by the options' rule, from the variables as they are now."""
        return self.options.allocate(self.selection)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The Trainer's optimizer with one more parameter group, last: beta."""
        optimizer: Optimizer = super().create_optimizer(model)
        if not any(p is self.selection.beta for p in optimizer.param_groups[-1]["params"]):
            group = {
                "params": [self.selection.beta],
                "lr": self.options.selection_learning_rate,
                "weight_decay": 0.0,
            }
            if self.options.selection_betas is not None:
                group["betas"] = self.options.selection_betas
            optimizer.add_param_group(group)
        return optimizer

    def begin(self) -> None:
        """Beta as it is decides about alpha."""
        super().begin()
        check_recomputation(self._model, self.args, self.options, self.hypergradient)
        self.selection.refresh()

    def begin_loop(self, model: nn.Module) -> InnerStep:
        """With what the estimator needs to remember."""
        return InnerStep(
            **self._loop(model),
            selection=self.selection,
            factors=self._factors,
            remember=self.hypergradient.remembers or self._diagnoses(),
        )

    def prepare_loop(self, step: InnerLoop) -> None:
        """The estimator's own preparation."""
        assert isinstance(step, InnerStep)
        if step.past:
            self.hypergradient.resume(step)
        else:
            self.hypergradient.prepare(step)

    def training_pass(self, step: InnerLoop, batch: Any) -> Tensor:
        """Forward and backward of one training batch, as the estimator wants them: (), the loss."""
        assert isinstance(step, InnerStep)
        return self.hypergradient.training_pass(step, batch)

    def go_on(self, step: InnerLoop) -> None:
        """One weight step of the inner loop was taken, and others follow: the estimator keeps what it needs of it."""
        assert isinstance(step, InnerStep)
        self.hypergradient.advance(step)

    def move_outer(self, step: InnerLoop) -> None:
        """Move beta by the estimator's hypergradient."""
        assert isinstance(step, InnerStep)
        exact = exact_terms(step) if self._diagnoses() else None
        terms = self.hypergradient.terms(step)
        self._move_selection(terms.total)
        self.hypergradient.finish(step)
        self.diagnosis = {} if exact is None else compare(terms, exact)

    def save_outer(self, folder: str) -> None:
        """Beta, with the layers' names and the constraint."""
        save_selection(self.selection, folder)

    def load_outer(self, folder: str) -> None:
        """Beta."""
        load_selection(self.selection, folder)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean rank under the rule to every progress line."""
        if "loss" in logs:
            logs["mean_rank"] = self.allocation().mean
        super().log(logs, start_time)

    def _move_selection(self, gradient: Tensor) -> None:
        optimizer = self._torch_optimizer()
        if not self.options.scheduled:
            optimizer.param_groups[-1]["lr"] = self.options.selection_learning_rate
        for weight in self._weights.values():
            weight.grad = None
        if self.options.selection_optimizer is SelectionOptimizer.mirror_descent:
            self.selection.mirror_step(gradient, optimizer.param_groups[-1]["lr"])
        else:
            self.selection.beta.grad = self.selection.pull_back(gradient)
            optimizer.step()
            self.selection.beta.grad = None
        self.selection.refresh()

    def _diagnoses(self) -> bool:
        """Whether the inner loop under way is one to compare with the exact hypergradient."""
        period = self.options.period
        last = (self.state.global_step // period + 1) * period
        return any(last - period < wanted <= last for wanted in self.options.diagnose_steps)
