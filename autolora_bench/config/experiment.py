"""One cell with one seed: everything that decides what a run computes."""

import hashlib
import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.identity import identity
from autolora_bench.config.method import MethodConfig
from autolora_bench.config.model import ModelConfig
from autolora_bench.config.ranges import Between, Positive, Seed, Text
from autolora_bench.config.task import TaskConfig
from autolora_bench.config.train import TrainConfig
from autolora_bench.paths import relative_folder

COMPARE = (
    "autolora:lora",
    "autolora:lora_uniform",
    "autolora:lora_random_ranks",
    "autolora:lora_shuffled_ranks",
)
"""AutoLoRA against LoRA and its controls."""
IDENTITY_NODES = ("task", "model", "data", "method", "train")


class Rerun(Enum):
    """What to do about cells that already have a record."""

    missing = "run what has no completed record; resume what was interrupted; failed cells are tried again"
    failed = "run only cells whose record says failed"
    all = "run everything again from the start"
    never = "run only cells that have no record at all"


@dataclass
class TuningConfig:
    """How a suite tunes what it compares before it compares it (suite=fair)."""

    rates: list[Positive] = field(default_factory=lambda: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
    """Values of method.learning_rate, ascending: the same for every method."""
    extensions: Annotated[int, Interval(ge=0, le=100)] = 4
    """At most so many rates beyond each end, one at a time, while the best one is at that end."""
    tied: list[str] = field(default_factory=lambda: ["method.search.learning_rate"])
    """Settings that take the same rate, in the methods that have them."""
    also: list[str] = field(default_factory=list)
    """Further settings with their values, as in "method.rank=4,16", tuned together with the rate in the methods that
    have them."""
    seeds: list[Seed] = field(default_factory=lambda: [1000])
    """Seeds of the tuning runs. Those of the comparison are the sweep's, and must be others."""
    held_out: Between = 0.1
    """data.held_out of the tuning runs."""


@dataclass
class ExperimentConfig:
    """The composed configuration (conf/config.yaml)."""

    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: Seed = 0
    """Of first values, data order and dropout; of the plant too, for task=planted."""
    results: Text = "runs"
    """Folder under which every run has its own."""
    rerun: Rerun = Rerun.missing
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    push: Text | None = None
    """Repository of a model hub, USER/NAME, to which the completed run's export is sent; a new one is private. No part
    of a run: asked of one that is completed, it trains nothing."""
    beside: list[str] = field(default_factory=list)
    """Suites that belong to the same table as this one (sweeps.beside); no part of a run."""
    tuning: TuningConfig | None = None
    """What a suite tunes first; no part of a run."""
    compare: list[str] = field(default_factory=lambda: list(COMPARE))
    """The comparisons that a report of these runs tests and corrects together, `method:other`; no part of a run."""


def experiment_identity(experiment: ExperimentConfig) -> dict[str, Any]:
    """What decides the numbers of a run apart from its seed; `config_id` is its hash."""
    nodes = {name: identity(getattr(experiment, name)) for name in IDENTITY_NODES}
    for source in Source:
        if source is not experiment.data.source:
            nodes["task"].pop(source.name, None)
    return nodes


def config_id(experiment: ExperimentConfig) -> str:
    """Eight hexadecimal digits that stand for `experiment_identity`."""
    text = json.dumps(experiment_identity(experiment), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_folder(experiment: ExperimentConfig) -> Path:
    """Where this cell's run lies below its results folder: the same for a single run and a sweep."""
    e = experiment
    return Path(e.results).expanduser() / relative_folder(
        e.task.name, e.model.name, e.method.name, config_id(e), e.seed
    )
