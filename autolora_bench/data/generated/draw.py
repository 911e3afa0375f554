"""What a generator is: a function from a turn to one example."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from autolora_bench.config.task import ClassificationTask, RegressionTask
from autolora_bench.errors import UserError

Row = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What an example is made from."""

    number: int
    """Position in the split: labels take turns by it."""
    random: Random
    held_out: bool
    """Whether the split is a test split, which may hold what the others do not."""


Draw = Callable[[Turn], Row]


def text_row(task: ClassificationTask | RegressionTask, texts: Sequence[str], label: int | float) -> Row:
    """An example with these texts in the task's columns. Raises UserError where their numbers differ."""
    if len(texts) != len(task.texts):
        raise UserError(
            f"task {task.name} has {len(task.texts)} texts, its generator makes {len(texts)}",
            "choose another generated.generator in the task's YAML",
        )
    return {**dict(zip(task.texts, texts, strict=True)), "label": label}


def other(values: Sequence[Any], value: Any, random: Random) -> Any:
    """One of the values that is not this one."""
    return random.choice([each for each in values if each != value])
