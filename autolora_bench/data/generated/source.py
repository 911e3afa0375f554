"""Examples that are made and not read: of a task's generator, or random inputs of a recovery task.

Generated examples are balanced, each one only once over all splits. Random inputs are sequences of whole numbers, which
the task maps to tokens of the model at hand.
"""

import json
from collections.abc import Callable
from math import ceil
from random import Random
from typing import Any

from autolora_bench.config.data import DataConfig
from autolora_bench.config.task import RecoveryTask, TaskConfig
from autolora_bench.data.files import GENERATOR_VERSION, generated_source, planted_source, split_names
from autolora_bench.data.generated.generators import (
    Draw,
    Row,
    Turn,
    entities,
    pairs,
    restaurants,
    sentences,
    similarity,
    triples,
)
from autolora_bench.data.schema import Columns, Loaded
from autolora_bench.errors import UserError

GENERATORS: dict[str, Callable[[Any], Draw]] = {
    "sentences": sentences,
    "pairs": pairs,
    "similarity": similarity,
    "entities": entities,
    "restaurants": restaurants,
    "triples": triples,
}
OUTPUTS = ("label", "tags", "references")
TRIES = 200
CAVEAT = "the examples are generated: their scores say nothing about a real task"


def read_generated(task: TaskConfig, data: DataConfig) -> Loaded:
    """The task's splits from its generator; the same seed gives the same examples.

    Raises:
        UserError: an unknown generator, a split without a number of rows, or more rows than there are examples.
    """
    source = generated_source(task)
    if source.generator not in GENERATORS:
        raise UserError(f"there is no generator {source.generator!r}", f"generators: {', '.join(GENERATORS)}")
    draw = GENERATORS[source.generator](task)
    seen: set[str] = set()
    splits: dict[str, Columns] = {}
    for split in split_names(task):
        random = Random(f"{data.generator_seed}/{source.generator}/{split}")
        turns = [Turn(number, random, split in task.test) for number in range(_count(source.rows, split))]
        rows = [_fresh(draw, turn, seen) for turn in turns]
        random.shuffle(rows)
        splits[split] = {name: [row[name] for row in rows] for name in rows[0]}
    settings = f"{source.generator}, version {GENERATOR_VERSION}, seed {data.generator_seed}"
    return Loaded(splits, f"generated ({settings})", [CAVEAT])


def _count(rows: dict[str, int], split: str) -> int:
    if rows.get(split, 0) < 1:
        raise UserError(
            f"generated.rows names no number of examples for the split {split!r}",
            f"add generated.rows.{split}=128, say",
        )
    return rows[split]


def _fresh(draw: Draw, turn: Turn, seen: set[str]) -> Row:
    for _ in range(TRIES):
        row = draw(turn)
        key = json.dumps([value for name, value in row.items() if name not in OUTPUTS])
        if key not in seen:
            seen.add(key)
            return row
    raise UserError("the generator has no further different example", "ask for fewer rows (generated.rows)")


NUMBERS = 2**31
RANDOM_TOKENS = "the inputs are random sequences of tokens"


def read_planted(task: TaskConfig, data: DataConfig) -> Loaded:
    """As many sequences as task.rows asks for, as texts of numbers; the same seed gives the same ones.

    Raises:
        UserError: the task is no recovery task, or says nothing of random inputs.
    """
    if not isinstance(task, RecoveryTask):
        raise UserError(
            f"task {task.name} needs texts, and data=planted draws random tokens", "choose another data"
        )
    length = planted_source(task).length
    random = Random(f"{data.generator_seed}/planted")
    count = ceil(sum(task.rows.values()) / len(task.texts))
    columns = {
        name: [" ".join(str(random.randrange(NUMBERS)) for _ in range(length)) for _ in range(count)]
        for name in task.texts
    }
    return Loaded({"train": columns}, f"random tokens (seed {data.generator_seed})", [RANDOM_TOKENS])
