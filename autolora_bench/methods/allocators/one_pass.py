"""The search of an allocator that trains nothing: it looks at the weights, or at gradients on a few batches.

It is short, so one that was interrupted starts again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.methods.allocators.allocated import FOUND_RANKS, Found, leave
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.base import PhaseContext, PhaseResult, run_within_memory
from autolora_bench.methods.first_gradients import Batches, mean_gradients
from autolora_bench.models.load import Backbone
from autolora_bench.training.counting import Stopwatch


@dataclass(frozen=True)
class Look:
    """What an allocator may look at."""

    backbone: Backbone
    """Freshly loaded; it may be changed."""
    budget: Budget
    context: PhaseContext
    batches: Batches
    """Training batches; counts what is read."""
    accumulation: int
    """Micro-batches per batch."""

    def mean_gradients(self, batches: int) -> dict[str, Tensor]:
        """Target layer -> gradient (O, D) of the mean loss of `batches` batches of the run's size."""
        names = self.backbone.targets
        return mean_gradients(self.backbone, self.context, names, self.batches, batches, self.accumulation)


@dataclass(frozen=True)
class OnePassSearch:
    """Looks, and leaves ranks.json and scores.json."""

    config: AllocatorConfig
    find: Callable[[Look], Found]
    parallel: ClassVar[bool] = False
    name: str = "search"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Find the ranks; the time of loading the model does not count."""
        return run_within_memory(
            context, self.name, context.train, lambda train: self._run(context, train.accumulation)
        )

    def _run(self, context: PhaseContext, accumulation: int) -> PhaseResult:
        backbone = context.backbone()
        weights = backbone.model.num_parameters(exclude_embeddings=True)
        budget = Budget.of(self.config, backbone.targets)
        look = Look(backbone, budget, context, Batches(context), accumulation)
        watch = Stopwatch(context.device)
        found = self.find(look)
        seconds, cpu_seconds = watch.stop()
        tokens = look.batches.tokens or 0
        result = PhaseResult(
            artefact=FOUND_RANKS,
            train_seconds=seconds,
            train_cpu_seconds=cpu_seconds,
            examples=look.batches.examples or 0,
            tokens=tokens,
            flops=6.0 * tokens * weights,
            source=backbone.source,
        )
        return leave(found, budget, context, result)
