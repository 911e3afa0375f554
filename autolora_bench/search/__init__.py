"""AutoLoRA's search on top of PEFT: selection variables, their gradient, and the ranks they lead to."""

from autolora_bench.search.hypergradient import ESTIMATORS, Hypergradient, InnerStep, Terms, estimator
from autolora_bench.search.layers import lora_factors, lora_layers
from autolora_bench.search.movement import Movement, movement
from autolora_bench.search.options import SearchOptions
from autolora_bench.search.patterns import rank_pattern, verify_applied
from autolora_bench.search.ranks import RankAllocation, RankRule, allocate_ranks
from autolora_bench.search.rate_trainer import RateOptions, RateTrainer
from autolora_bench.search.rates import LayerRates, RateGradient
from autolora_bench.search.selection import Selection, attach, detach, selection_for
from autolora_bench.search.storage import Trajectory, load_selection, save_selection
from autolora_bench.search.trainer import SearchTrainer
from autolora_bench.search.validation import ValidationStream

__all__ = [
    "ESTIMATORS",
    "Hypergradient",
    "InnerStep",
    "LayerRates",
    "Movement",
    "RankAllocation",
    "RankRule",
    "RateGradient",
    "RateOptions",
    "RateTrainer",
    "SearchOptions",
    "SearchTrainer",
    "Selection",
    "Terms",
    "Trajectory",
    "ValidationStream",
    "allocate_ranks",
    "attach",
    "detach",
    "estimator",
    "load_selection",
    "lora_factors",
    "lora_layers",
    "movement",
    "rank_pattern",
    "save_selection",
    "selection_for",
    "verify_applied",
]
