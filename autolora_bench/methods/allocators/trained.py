"""The search of an allocator that trains: a LoRA of the largest rank on all training data, without evaluations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from peft import PeftModel
from torch.optim import Optimizer
from transformers import TrainingArguments

from autolora_bench.config.allocators import TRAINED
from autolora_bench.config.train import TrainConfig
from autolora_bench.methods.allocators.allocated import FOUND_RANKS, Found, leave
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.base import PhaseContext, PhaseResult, run_within_memory
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.methods.search_training import measured, shared_arguments, train_search
from autolora_bench.processes import on_main
from autolora_bench.training.arguments import training_arguments
from autolora_bench.training.checkpoints import CHECKPOINTS
from autolora_bench.training.method_hooks import MethodHooks
from autolora_bench.training.trainer import FinetuneTrainer


class Allocator(MethodHooks):
    """An allocator's part in its training, and what it finds at the end."""

    optimizer: Callable[[Any, TrainingArguments], Optimizer] | None = None
    """None is AdamW."""
    goes_on: bool = False
    """Whether the final training goes on where this one ends, in the same stream of examples."""

    def found(self) -> Found:
        """Ranks within the budget, once the training is over."""
        raise NotImplementedError

    def leave(self, found: Found, context: PhaseContext) -> None:
        """Write into the search's folder what the final training needs beside the ranks."""


MakeAllocator = Callable[[PeftModel, Budget], Allocator]
"""The model that is trained (changed in place where the allocator needs it) and the budget -> the allocator."""


@dataclass(frozen=True)
class TrainedSearch:
    """Trains a LoRA with an allocator, and leaves ranks.json and scores.json."""

    config: TRAINED
    allocator: MakeAllocator
    parallel: ClassVar[bool] = True
    name: str = "search"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Train, or go on from the last checkpoint."""
        train = self.config.search_training(context.train, len(context.splits.train))
        return run_within_memory(context, self.name, train, lambda train: self._search(context, train))

    def _search(self, context: PhaseContext, train: TrainConfig) -> PhaseResult:
        c, backbone = self.config, context.backbone()
        budget = Budget.of(c, backbone.targets)
        model = lora_model(
            backbone,
            context,
            r=c.maximum_rank,
            lora_alpha=c.alpha,
            lora_dropout=c.dropout,
            target_modules=backbone.targets,
        )
        allocator = self.allocator(model, budget)
        trainer = self._trainer(model, allocator, context, train, backbone.head_modules)
        train_search(trainer, context, train)
        result = measured(trainer, FOUND_RANKS, backbone.source, allocator.details())
        return on_main(lambda: self._leave(allocator, budget, context, result))

    def _leave(
        self, allocator: Allocator, budget: Budget, context: PhaseContext, result: PhaseResult
    ) -> PhaseResult:
        found = allocator.found()
        allocator.leave(found, context)
        return leave(found, budget, context, result)

    def _trainer(
        self,
        model: PeftModel,
        allocator: Allocator,
        context: PhaseContext,
        train: TrainConfig,
        head_modules: Sequence[str],
    ) -> FinetuneTrainer:
        c, folder = self.config, context.phase_folder(self.name)
        arguments = training_arguments(
            train,
            folder / CHECKPOINTS,
            learning_rate=c.learning_rate if c.search_learning_rate is None else c.search_learning_rate,
            seed=context.experiment.seed,
            device=context.device,
        )
        return FinetuneTrainer(
            model=model,
            args=arguments,
            optimizers=(allocator.optimizer(model, arguments) if allocator.optimizer else None, None),
            train_dataset=context.splits.train,
            evaluate_splits=lambda trained: {},
            headline="",
            higher_is_better=True,
            best=folder / CHECKPOINTS / "best.safetensors",
            hooks=allocator,
            seen=0 if allocator.goes_on else None,
            **shared_arguments(self.name, context, train, head_modules),
        )
