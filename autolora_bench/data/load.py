"""The one way to a task's examples."""

import json
from collections.abc import Callable
from typing import Any

from datasets import Dataset

from autolora_bench.checksums import sha256
from autolora_bench.config.data import HELD_OUT, DataConfig, Source
from autolora_bench.config.identity import identity
from autolora_bench.config.task import ClassificationTask, GenerationTask, RegressionTask, TaskConfig
from autolora_bench.data.files import local_files, own_files
from autolora_bench.data.generated.source import read_generated, read_planted
from autolora_bench.data.hub import read_hub
from autolora_bench.data.local import read_local
from autolora_bench.data.own import read_own
from autolora_bench.data.schema import Loaded, TaskData, check_schema, fingerprint, to_dataset
from autolora_bench.data.splits import also_trained_on, hold_out, inputs_of, limit, shuffle
from autolora_bench.errors import UserError

SOURCES: dict[Source, Callable[[TaskConfig, DataConfig], Loaded]] = {
    Source.hub: read_hub,
    Source.local: read_local,
    Source.generated: read_generated,
    Source.planted: read_planted,
    Source.files: read_own,
}


_last: dict[str, TaskData] = {}
"""What was read last, alone: the jobs of a sweep that follow one another mostly share it."""


def load_data(task: TaskConfig, data: DataConfig) -> TaskData:
    """Read, check and, where asked for, shorten a task's splits.

    data.limit and data.limit_evaluation choose by a fixed seed, classes in proportion, and keep the order; a note and
    `subsets` say so. The fingerprint is of the examples that are left. Unchanged local files and generated examples are
    not read again by the next run in the same process; nobody may change what is returned.

    Raises:
        UserError: a limit below one, or anything that is missing or wrong in the source.
    """
    if data.source is Source.hub:
        return _load(task, data)
    key = json.dumps([type(task).__name__, identity(task), identity(data), _files(task, data)])
    if key not in _last:
        found = _load(task, data)
        _last.clear()
        _last[key] = found
    return _last[key]


def _files(task: TaskConfig, data: DataConfig) -> list[Any]:
    """Which local files there are, with what is in each."""
    if data.source not in (Source.local, Source.files):
        return []
    find = local_files if data.source is Source.local else own_files
    paths = [path for paths in find(task, data).values() for path in paths]
    return [(str(path.absolute()), sha256(path)) for path in paths]


def _load(task: TaskConfig, data: DataConfig) -> TaskData:
    limits = {"data.limit": data.limit, "data.limit_evaluation": data.limit_evaluation}
    for name, value in limits.items():
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}", "give a number of examples of at least 1, or null for all")
    loaded = (SOURCES[data.source] if task.table is None else read_own)(task, data)
    check_schema(task, loaded)
    stratify = "label" if isinstance(task, ClassificationTask) else None
    notes = list(loaded.notes)
    splits: dict[str, Dataset] = {}
    for split, columns in loaded.splits.items():
        whole = to_dataset(task, columns)
        splits[split] = limit(whole, data.limit if split == "train" else data.limit_evaluation, stratify)
        if len(splits[split]) < len(whole):
            notes.append(f"{split}: limited to {len(splits[split])} of {len(whole)} examples")
    if data.held_out:
        whole = splits["train"]
        # The benchmarks' few repeats are cut apart, as they were in the runs that are recorded.
        units = inputs_of(task, whole.to_dict()) if task.table is not None else None
        train, held = hold_out(whole, data.held_out, _strata(task, whole), units)
        splits = {"train": train, HELD_OUT: held}
        if units is None:
            notes += also_trained_on(
                inputs_of(task, train.to_dict()), HELD_OUT, inputs_of(task, held.to_dict())
            )
        notes.append(f"scored on {len(held)} training examples that were held out, trained on {len(train)}")
    if data.shuffle_labels:
        splits["train"] = shuffle(splits["train"], "label")
        notes.append("the labels of the training examples are shuffled: no score is the task's")
    return TaskData(splits, fingerprint(splits), loaded.source, _subsets(task, data, splits), notes)


def _strata(task: TaskConfig, train: Dataset) -> list[Any]:
    """What both sides of a cut are to have in proportion: labels, whole numbers of a score, categories of records."""
    match task:
        case ClassificationTask():
            return list(train["label"][:])
        case RegressionTask():
            return [int(label) for label in train["label"][:]]
        case GenerationTask():
            return list(train["category"][:])
    return [0] * len(train)


def _subsets(task: TaskConfig, data: DataConfig, splits: dict[str, Dataset]) -> dict[str, tuple[int, int]]:
    """Splits with fewer rows than the publisher's; generated and random data have no publisher."""
    if task.local is None or data.source in (Source.generated, Source.planted):
        return {}
    official = task.local.official_rows
    return {
        split: (len(dataset), official[split])
        for split, dataset in splits.items()
        if split in official and len(dataset) < official[split]
    }
