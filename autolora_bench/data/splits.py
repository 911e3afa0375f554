"""Seeded choices of examples: the two halves of the search, parts that are held out, and small runs."""

import json
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from autolora_bench.config.task import TaskConfig
from autolora_bench.data.schema import Columns, input_columns
from autolora_bench.errors import UserError


def search_split(dataset: Dataset, share: float, seed: int, stratify: str | None) -> tuple[Dataset, Dataset]:
    """Cut a training set in two for the search (AutoLoRA section 3: 1:1; the released code: 70:30).

    Args:
        dataset: training examples.
        share: part of the examples in the first half, between 0 and 1.
        seed: the same seed gives the same halves.
        stratify: column whose values both halves share in proportion; a value with at least two examples is in both.

    Returns:
        The examples that train the weights, and those that train the selection variables. Together they are the whole
        data set, each example once, in its order.

    Raises:
        UserError: a half would be empty.
    """
    size = round(share * len(dataset))
    if not 0 < size < len(dataset):
        raise UserError(
            f"a share of {share:g} of {len(dataset)} training examples leaves one half of the search empty",
            "use more training examples (data.limit) or a share nearer to 0.5",
        )
    groups = _groups(dataset, stratify)
    first = choose(groups, size, seed, both_sides=True)
    chosen = set(first)
    return dataset.select(first), dataset.select([row for row in range(len(dataset)) if row not in chosen])


def limit(dataset: Dataset, size: int | None, stratify: str | None) -> Dataset:
    """At most `size` examples, always the same ones, classes in proportion, in the data set's order."""
    if size is None or size >= len(dataset):
        return dataset
    return dataset.select(choose(_groups(dataset, stratify), size, seed=0))


def shuffle(dataset: Dataset, column: str) -> Dataset:
    """The data set with the values of a column permuted over its rows, always the same way."""
    columns = {name: dataset[name][:] for name in dataset.column_names}
    order = np.random.default_rng(0).permutation(len(dataset))
    columns[column] = [columns[column][place] for place in order]
    return Dataset.from_dict(columns, features=dataset.features)


def hold_out(
    dataset: Dataset, share: float, groups: Sequence[Any], units: Sequence[Hashable] | None
) -> tuple[Dataset, Dataset]:
    """What is left to train on, and the `share` of the examples that is held out: always the same ones.

    Args:
        groups: what each example belongs to; both parts have all groups in proportion.
        units: examples of one unit stay together; None for each on its own.

    Raises:
        UserError: a part would be empty.
    """
    mend = "use more training examples (data.limit), or another share"
    rest, held = apart(groups, units, share, "data.held_out", "training examples", mend)
    return dataset.select(rest), dataset.select(held)


def apart(
    groups: Sequence[Any],
    units: Sequence[Hashable] | None,
    share: float,
    setting: str,
    what: str,
    mend: str,
) -> tuple[list[int], list[int]]:
    """Positions of the examples that stay, and of those that are held out, in their order: always the same ones.

    Args:
        groups: as of `hold_out`; a unit belongs to the group of its first example.
        units: as of `hold_out`.
        share: of the units that is held out, from 0 to 1.
        setting: what says the share, for the error.
        what: the units' noun, for the error.
        mend: what to do where a part would be empty.

    Raises:
        UserError: a part would be empty.
    """
    members: dict[Hashable, list[int]] = {}
    for place, unit in enumerate(range(len(groups)) if units is None else units):
        members.setdefault(unit, []).append(place)
    together = list(members.values())
    size = round(share * len(together))
    if not 0 < size < len(together):
        raise UserError(f"{setting}={share:g} of {len(together)} {what} leaves none on one side", mend)
    held = choose([groups[places[0]] for places in together], size, seed=0, both_sides=True)
    chosen = {place for number in held for place in together[number]}
    return [place for place in range(len(groups)) if place not in chosen], sorted(chosen)


def inputs_of(task: TaskConfig, columns: Columns) -> list[Hashable]:
    """What a model is given of each example, to compare it with others."""
    given = [columns[name] for name in input_columns(task)]
    return [json.dumps(one) for one in zip(*given, strict=True)]


def also_trained_on(train: Sequence[Hashable], split: str, inputs: Sequence[Hashable]) -> list[str]:
    """A note where examples of `split` have inputs that are trained on too.

    Args:
        train: inputs of the training examples, as `inputs_of` gives them.
        inputs: those of the split.
    """
    trained = {*train}
    count = sum(given in trained for given in inputs)
    if not count:
        return []
    return [f"{split}: {count:,} of {len(inputs):,} examples have inputs that are also trained on"]


def choose(groups: Sequence[Any], size: int, seed: int, both_sides: bool = False) -> list[int]:
    """Positions of `size` of the examples, in ascending order, every group in proportion.

    Args:
        groups: what each example belongs to.
        size: how many to choose.
        seed: of the choice within each group.
        both_sides: a group of two or more has at least one example chosen and one left, where `size` permits.
    """
    generator = np.random.default_rng(seed)
    members: dict[Any, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    names = sorted(members)
    quotas = _quotas([len(members[name]) for name in names], size, both_sides)
    chosen: list[int] = []
    for name, quota in zip(names, quotas, strict=True):
        chosen.extend(np.asarray(members[name])[generator.permutation(len(members[name]))[:quota]].tolist())
    return sorted(chosen)


def _groups(dataset: Dataset, column: str | None) -> list[Any]:
    return list(dataset[column][:]) if column else [0] * len(dataset)


def _quotas(sizes: Sequence[int], total: int, both_sides: bool) -> list[int]:
    """Largest-remainder shares of `total`, each kept off its extremes where `both_sides` asks for it."""
    exact = [size * total / sum(sizes) for size in sizes]
    low = [min(1, size - 1) if both_sides else 0 for size in sizes]
    high = [size - 1 if both_sides and size > 1 else size for size in sizes]
    quotas = [min(max(int(share), lo), hi) for share, lo, hi in zip(exact, low, high, strict=True)]
    while (missing := total - sum(quotas)) != 0:
        step = 1 if missing > 0 else -1
        room = [i for i, quota in enumerate(quotas) if (quota < high[i] if step > 0 else quota > low[i])]
        if not room:
            low, high = [0] * len(sizes), list(sizes)
            continue
        most = max(room, key=lambda i: (step * (exact[i] - quotas[i]), -i))
        quotas[most] += step
    return quotas
