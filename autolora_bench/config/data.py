"""Where the examples come from."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from autolora_bench.config.identity import ADDED, LOCATION
from autolora_bench.config.ranges import Between, Seed, Share, Steps, Text

HELD_OUT = "held_out"
"""The split that data.held_out makes; the only one that such a run is scored on."""


class Source(Enum):
    """The kinds of data source."""

    hub = "the Hugging Face hub, or its cache when offline"
    local = "files in the publisher's layout under data.dir"
    generated = "examples that the project generates"
    files = "tables of the user's own: CSV, TSV, JSON lines or parquet (task=any)"
    planted = "random sequences of the model's own tokens, for tasks that need no text"


@dataclass
class DataConfig:
    """Which source, how much of it."""

    source: Source = MISSING
    dir: Text | None = field(default=None, metadata=LOCATION)
    """Folder that holds the publisher's files (data=local)."""
    train: Text | None = field(default=None, metadata=LOCATION)
    """Table of examples to train on (task=any data=files): a file, a pattern as train-*.parquet, or a folder. What is
    in it is part of a run's identity (task.files), not where it lies; so with the next two."""
    validation: Text | None = field(default=None, metadata=LOCATION)
    """Table of examples that choose the best epoch; none takes a part of those to train on."""
    test: Text | None = field(default=None, metadata=LOCATION)
    """Table of examples that are scored once, at the end."""
    name: Text | None = field(default=None, metadata=LOCATION)
    """Data set on the Hugging Face hub, as stanfordnlp/imdb (task=any data=hub); part of the identity as task.hub."""
    subset: Text | None = field(default=None, metadata=LOCATION)
    """Which of its configurations, where it has several."""
    revision: Text | None = field(default=None, metadata=LOCATION)
    """Its commit, tag or branch; none means the main branch as it was when it was first asked for from here."""
    validation_share: Between = field(default=0.1, metadata=LOCATION)
    """Share of the examples that task=any takes off the training data where there is no validation split; always the
    same ones, classes in proportion. Part of a run's identity (task.table) where it is used."""
    limit: Steps | None = None
    """At most so many training examples, chosen by a fixed seed: for trials; the record says so."""
    limit_evaluation: Steps | None = None
    """At most so many examples of every other split."""
    generator_seed: Seed = 0
    """Seed of generated examples; the run's own seed never changes the data."""
    held_out: Share = field(default=0.0, metadata=ADDED)
    """Share of the training examples that the run does not train on and is scored on instead of the task's evaluation
    and test splits, which it leaves alone: for choosing settings. Always the same examples, classes in proportion;
    with task=any those of one input stay together."""
    shuffle_labels: bool = field(default=False, metadata=ADDED)
    """Whether the labels of the training examples are permuted, always the same way, and all else stays: a control, as
    what a method finds then (ranks, rates) no task has asked for. The task's name ends in _shuffled; it is scored on
    true labels. Classification and regression."""

    @property
    def tables(self) -> dict[str, str]:
        """Split -> the table of the user's own that was said for it."""
        said = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: place for split, place in said.items() if place is not None}
