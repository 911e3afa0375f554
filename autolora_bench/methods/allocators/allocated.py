"""The method around every allocator: a search that leaves ranks, then LoRA trained with them on all training data.

Trained at the end, without the head: sum of r_l (D_l + O_l) over the layers, D inputs and O outputs. The record has
the search and the final training as phases of their own, each with its time and steps, as AutoLoRA's has.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from torch import Tensor, nn

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.methods.initialising import initialising
from autolora_bench.methods.ranked_model import (
    export_adapter,
    ranked_model,
    read_allocation,
    write_allocation,
)
from autolora_bench.models.load import Backbone
from autolora_bench.record import write_atomically
from autolora_bench.search import RankAllocation
from autolora_bench.training.lora_optimizers import optimizer_of

RANKS = "search/ranks.json"
SCORES = "search/scores.json"


@dataclass(frozen=True)
class Found:
    """What an allocator's search found."""

    ranks: RankAllocation
    scores: Tensor
    """(L,) of the layers or (L, K) of their components: what the ranks follow from."""


def leave(found: Found, context: PhaseContext, result: PhaseResult) -> PhaseResult:
    """Write scores.json and ranks.json into the search's folder; `result` with what the record says of them.

    For the main process alone.
    """
    scores = dict(zip(found.ranks.modules, found.scores.double().cpu().tolist(), strict=True))
    write_atomically(context.folder / SCORES, json.dumps(scores, indent=1))
    write_allocation(found.ranks, context.folder / RANKS)
    result.details |= {"total_rank": found.ranks.total, "mean_rank": found.ranks.mean}
    return result


@dataclass(frozen=True)
class AllocatedLora:
    """An allocator's search, and LoRA with the ranks that it found."""

    config: AllocatorConfig
    search: Phase
    """Leaves RANKS; its name is `search`."""
    start: Callable[[PeftModel, PhaseContext], None] | None = None
    """Gives the final LoRA, freshly made with the found ranks, other first weights than LoRA's."""

    def phases(self) -> Sequence[Phase]:
        """Search, first values where the final LoRA's start computes any, and the final training."""
        return [self.search, *initialising(self.config, _found), self._retrain()]

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The finally trained model."""
        return self._retrain().rebuild(context)

    def _retrain(self) -> FinetunePhase:
        return FinetunePhase(
            "retrain",
            self._adapt,
            self.config.learning_rate,
            export=self._export,
            optimizer=optimizer_of(self.config.variant),
            training=self.config.final,
        )

    def _adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        model = ranked_model(backbone, context, self.config, _found(backbone, context))
        if self.start is not None:
            self.start(model, context)
        return model

    def _export(self, model: PeftModel, backbone: Backbone, folder: Path) -> None:
        export_adapter(self.config, model, folder)


def _found(backbone: Backbone, context: PhaseContext) -> RankAllocation:
    return read_allocation(context.folder / RANKS)
