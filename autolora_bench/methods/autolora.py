"""AutoLoRA (Zhang et al., NAACL 2024): search, threshold, retrain."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from autolora_bench.config.method import AutoLoraConfig
from autolora_bench.config.search import SearchConfig
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult
from autolora_bench.methods.low_rank import LowRank
from autolora_bench.methods.ranked_model import write_allocation
from autolora_bench.methods.searching import SELECTION, SearchPhase, rank_rule

THRESHOLD_RANKS = "threshold/ranks.json"


@dataclass(frozen=True)
class AutoLora(LowRank):
    """Ranks learnt on two halves of the training data, then LoRA trained with them on all of it."""

    config: AutoLoraConfig
    ranks_file: ClassVar[str] = THRESHOLD_RANKS
    training_name: ClassVar[str] = "retrain"

    def before(self) -> Sequence[Phase]:
        """Sections 3.2 (search) and 3.3 (threshold) of the paper; the retraining follows."""
        return [SearchPhase(self.config.search), ThresholdPhase(self.config.search), *super().before()]


@dataclass(frozen=True)
class ThresholdPhase:
    """Turns the selection variables into one rank per layer; leaves ranks.json."""

    config: SearchConfig
    parallel: ClassVar[bool] = False
    name: str = "threshold"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Apply the rule to what the search left."""
        found = json.loads((context.folder / SELECTION).read_text(encoding="utf-8"))
        rule = rank_rule(self.config, len(found["modules"]))
        ranks = rule.allocate(found["beta" if rule.kind.reads_beta else "alpha"], found["modules"])
        write_allocation(ranks, context.folder / THRESHOLD_RANKS)
        details = {"total_rank": ranks.total, "mean_rank": ranks.mean}
        return PhaseResult(artefact=THRESHOLD_RANKS, details=details)
