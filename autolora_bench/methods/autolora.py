"""AutoLoRA (Zhang et al., NAACL 2024): search, threshold, retrain."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from autolora_bench.config.method import AutoLoraConfig
from autolora_bench.config.search import SearchConfig
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult
from autolora_bench.methods.low_rank import LowRank
from autolora_bench.methods.ranked_model import (
    read_allocation,
    write_allocation,
)
from autolora_bench.methods.searching import SELECTION, SearchPhase, minimum_rank, total_rank
from autolora_bench.models.load import Backbone
from autolora_bench.search import RankAllocation, allocate_ranks

RANKS = "threshold/ranks.json"


@dataclass(frozen=True)
class AutoLora(LowRank):
    """Ranks learnt on two halves of the training data, then LoRA trained with them on all of it."""

    config: AutoLoraConfig
    training_name: ClassVar[str] = "retrain"

    def before(self) -> Sequence[Phase]:
        """Sections 3.2 (search) and 3.3 (threshold) of the paper; the retraining follows."""
        return [SearchPhase(self.config.search), ThresholdPhase(self.config.search), *super().before()]

    def ranks(self, backbone: Backbone, context: PhaseContext) -> RankAllocation:
        """Those that the search has learnt."""
        return read_allocation(context.folder / RANKS)


@dataclass(frozen=True)
class ThresholdPhase:
    """Turns the selection variables into one rank per layer; leaves ranks.json."""

    config: SearchConfig
    parallel: ClassVar[bool] = False
    name: str = "threshold"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Apply the rule to what the search left."""
        c = self.config
        found = json.loads((context.folder / SELECTION).read_text(encoding="utf-8"))
        values = torch.tensor(found["beta" if c.rule.reads_beta else "alpha"], dtype=torch.float64)
        budget = total_rank(c, len(found["modules"]))
        ranks = allocate_ranks(values, found["modules"], c.rule, c.threshold, budget, minimum_rank(c))
        write_allocation(ranks, context.folder / RANKS)
        return PhaseResult(artefact=RANKS, details={"total_rank": ranks.total, "mean_rank": ranks.mean})
