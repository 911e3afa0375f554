"""The method around every allocator: a search that leaves ranks, then LoRA trained with them on all training data.

Trained at the end, without the head: sum of r_l (D_l + O_l) over the layers, D inputs and O outputs. The record has
the search and the final training as phases of their own, each with its time and steps, as AutoLoRA's has.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from peft import PeftModel
from torch import Tensor

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.errors import require
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.methods.low_rank import LowRank
from autolora_bench.methods.ranked_model import write_allocation
from autolora_bench.models.load import Backbone
from autolora_bench.record import write_atomically
from autolora_bench.search import RankAllocation

FOUND_RANKS = "search/ranks.json"
SCORES = "search/scores.json"


@dataclass(frozen=True)
class Found:
    """What an allocator's search found."""

    ranks: RankAllocation
    scores: Tensor
    """(L,) of the layers or (L, K) of their components: what the ranks follow from."""


def leave(found: Found, budget: Budget, context: PhaseContext, result: PhaseResult) -> PhaseResult:
    """Write scores.json and ranks.json into the search's folder; `result` with what the record says of them.

    For the main process alone.

    Raises:
        UserError: nothing was found, ranks that the budget does not allow, or scores that are not finite numbers of
            the layers.
    """
    require(
        isinstance(found, Found),
        f"the allocator found {found!r}",
        "return Found(ranks, scores), with a rank and a score of every layer",
    )
    budget.check(found.ranks)
    layers = len(found.ranks.modules)
    require(
        len(found.scores) == layers and bool(found.scores.isfinite().all()),
        f"the allocator's scores of shape {tuple(found.scores.shape)} are to be finite numbers for {layers} layers",
        "check the model's weights and the training data, and give each layer its score",
    )
    scores = dict(zip(found.ranks.modules, found.scores.double().cpu().tolist(), strict=True))
    write_atomically(context.folder / SCORES, json.dumps(scores, indent=1))
    write_allocation(found.ranks, context.folder / FOUND_RANKS)
    result.details |= {"total_rank": found.ranks.total, "mean_rank": found.ranks.mean}
    return result


@dataclass(frozen=True)
class AllocatedLora(LowRank):
    """An allocator's search, and LoRA with the ranks that it found."""

    config: AllocatorConfig
    search: Phase
    """Leaves FOUND_RANKS; its name is `search`."""
    go_on: Callable[[PeftModel, PhaseContext], None] | None = None
    """Gives the final LoRA, freshly made with the found ranks, the weights that the search left to go on with; None
    where it is trained from scratch."""

    training_name: ClassVar[str] = "retrain"
    ranks_file: ClassVar[str] = FOUND_RANKS

    def before(self) -> Sequence[Phase]:
        """Search, and first values where the final LoRA's start computes any."""
        return [self.search, *super().before()]

    def training(self) -> FinetunePhase:
        """The run's, or the part of it that the search has left."""
        return replace(super().training(), part=self.config.final_training, seen=self.config.seen)

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        """LoRA with those ranks, at the weights to go on with where there are any."""
        model = super().adapt(backbone, context)
        if self.go_on is not None:
            self.go_on(model, context)
        return model
