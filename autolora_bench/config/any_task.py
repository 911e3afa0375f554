"""task=any: the kind of task, its columns and its classes, read off the user's own data before a run is planned.

What is found takes the task's place in the configuration, so that it is part of a run's identity, as is what is in the
files (`task.files`) or which commit of the hub they are (`task.hub`). Where files lie is none of it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from autolora_bench.checksums import sha256
from autolora_bench.config.choices import choices
from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.task import (
    AnyTask,
    ClassificationTask,
    FilesSource,
    GenerationTask,
    HubSource,
    RegressionTask,
    Serialization,
    TableSource,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.errors import require
from autolora_bench.paths import conf_dir
from autolora_bench.tables.classes import LISTED, TRAIN, check_read, find_classes
from autolora_bench.tables.profile import Column, Content, all_values, profile
from autolora_bench.tables.read import find_files
from autolora_bench.tables.roles import Kind, Roles, find_roles

VALIDATION, TEST = "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
VALIDATIONS = (VALIDATION, "dev", "valid", "val")
"""What repositories of the hub call it."""
UNNAMED, MEAN = "any", "average"
EVERYDAY = ("train", "training", "data", "default", "all")
"""Names of files that say nothing of the task: their folder's is taken."""
UNLABELLED = "-1"
"""What the hub has for the class of a test example whose class is kept secret."""
METRICS = {
    Kind.classification: ["accuracy", "macro_f1"],
    Kind.regression: ["spearman", "pearson"],
    Kind.tagging: ["f1", "precision", "recall"],
    Kind.generation: ["bleu", "rouge_l_google"],
}
OUTSIDE = "O"
OF_HUB = ("name", "subset", "revision")
OWN_SETTINGS = ("train", "validation", "test", *OF_HUB)
READ = {
    Kind.classification: ("labels",),
    Kind.regression: (),
    Kind.tagging: ("labels", "long", "stride"),
    Kind.generation: ("decoding", "epoch_records"),
}
"""Settings of task=any that some kinds of task have no use for -> by those that have."""


@dataclass(frozen=True)
class Tables:
    """The user's data, split by split."""

    where: str
    """The training table as messages call it."""
    name: str
    """Name for the task."""
    columns: dict[str, list[Column]]
    """Split -> its columns."""
    paths: dict[str, list[Path]]
    """Split -> its files."""
    called: dict[str, str]
    """Split -> as messages call it beside `where`: with the table that was said for it, if that is another."""
    files: FilesSource | None = None
    hub: HubSource | None = None


def resolve_task(experiment: ExperimentConfig) -> None:
    """Put a task of a known kind in the place of task=any; check that no other task was given data of the user's own.

    Raises:
        UserError: a setting, file or column is missing, or the data leave a doubt.
    """
    task, data = experiment.task, experiment.data
    own = [name for name in OWN_SETTINGS if getattr(data, name) is not None]
    if not isinstance(task, AnyTask):
        require(
            not own and data.source is not Source.files,
            f"{f'data.{own[0]}' if own else 'data=files'} with task={task.name}, which has data of its own",
            "say task=any",
        )
        require(
            data.validation_share == DataConfig.validation_share,
            f"data.validation_share={data.validation_share:g} with task={task.name}, which has splits of its own",
            f"say data.held_out={data.validation_share:g} to hold out training data and be scored on it",
        )
        return
    _check_source(data)
    tables = _from_files(data) if data.source is Source.files else _from_hub(data)
    roles = find_roles(tables.where, tables.columns[TRAIN], task.kind, task.texts, task.label)
    _check_read(task, data, tables.columns, roles.kind)
    experiment.task = _build(task, data, tables, roles)


def describe(task: TaskConfig) -> str:
    """What was read off the data, for the user; empty for tasks that say it themselves."""
    if task.table is None:
        return ""
    inputs, label = " and ".join(task.table.inputs), task.table.label
    match task:
        case ClassificationTask():
            more = f", and {len(task.labels) - LISTED} more" if len(task.labels) > LISTED else ""
            what = f"{inputs} -> {label}, one of {len(task.labels)} classes: {', '.join(task.labels[:LISTED])}{more}"
            if "f1" in task.metrics and len(task.labels) > 1:
                what += f"; f1 is of {task.labels[1]} (task.labels=[OTHER,CLASS] makes it of another)"
        case RegressionTask():
            what = f"{inputs} -> {label}, a number from {task.minimum:g} to {task.maximum:g}"
        case TaggingTask():
            what = f"{inputs} -> {label}, entities: {', '.join(task.entities)}"
        case _:
            what = f"{inputs} -> {label}, a text"
    share = task.table.validation_share
    cut = f"; no validation split: {share:.0%} of the training examples, always the same, are held out for it"
    at = f" at {task.hub.revision}" if task.hub else ""
    return f"task {task.name}{at} read as: {what}{cut if share else ''}"


def _check_source(data: DataConfig) -> None:
    for name in OWN_SETTINGS:
        require(getattr(data, name) != "", f"data.{name} is empty", "give it a value, or leave it out")
    if data.source is Source.files:
        of_hub = [name for name in OF_HUB if getattr(data, name) is not None]
        require(
            not of_hub,
            f"data.{''.join(of_hub[:1])} with data=files",
            "say data=hub for a data set of the hub, or leave it out",
        )
        require(
            data.train is not None,
            "task=any needs your data",
            "say data.train=FILE, or data=hub data.name=OWNER/NAME (autolora-bench ls task any explains)",
        )
        return
    require(
        data.source is Source.hub,
        f"task=any does not read data={data.source.name}",
        "say data=files data.train=FILE, or data=hub data.name=OWNER/NAME",
    )
    require(data.name is not None, "task=any data=hub needs the data set", "say data.name=OWNER/NAME")
    named = [*data.tables]
    require(
        not named,
        f"data.{''.join(named[:1])} with data=hub",
        "say data=files for files of your own, or leave it out",
    )


def _from_files(data: DataConfig) -> Tables:
    said = data.tables
    paths = {split: find_files(name, f"data.{split}") for split, name in said.items()}
    digests = {split: [sha256(path) for path in files] for split, files in paths.items()}
    for split, found in digests.items():
        require(
            len({*found}) == len(found),
            f"data.{split}={said[split]} stands for the same content twice",
            "name every file once",
        )
    for one, other in combinations(digests, 2):
        require(
            not {*digests[one]} & {*digests[other]},
            f"data.{other}={said[other]} is the data of data.{one}: its scores would mean nothing",
            "name another file, or leave it out (a part of the training examples is held out to validate on)",
        )
    return Tables(
        said[TRAIN],
        _name_of(Path(said[TRAIN])),
        {split: profile(files) for split, files in paths.items()},
        paths,
        {split: split if split == TRAIN else f"{split} ({name})" for split, name in said.items()},
        files=FilesSource(digests),
    )


def _from_hub(data: DataConfig) -> Tables:
    # they import the hub's library, which no other task needs
    from autolora_bench.tables.repository import fetch, find_repository

    repository = find_repository(str(data.name), data.subset, data.revision)
    chosen = {VALIDATION: next((name for name in VALIDATIONS if name in repository.splits), None)}
    chosen |= {name: name if name in repository.splits else None for name in (TRAIN, TEST)}
    require(
        chosen[TRAIN] is not None,
        f"{repository.name} has no split train; it has {', '.join(repository.splits)}",
        "choose another data set, or say data=files data.train=FILE",
    )
    splits = {split: name for split in SPLITS if (name := chosen[split]) is not None}
    for one, other in combinations(splits, 2):
        require(
            not {*repository.splits[splits[one]]} & {*repository.splits[splits[other]]},
            f"{repository.name}: its splits {splits[one]} and {splits[other]} share a file",
            "choose another data set, or say data=files with files of your own",
        )
    paths = {split: fetch(repository, name) for split, name in splits.items()}
    columns = {split: profile(found) for split, found in paths.items()}
    files = {split: repository.splits[name] for split, name in splits.items()}
    hub = HubSource(path=repository.name, revision=repository.commit, files=files)
    base = repository.name.rpartition("/")[2]
    name = base if data.subset is None else f"{base}-{data.subset}"
    return Tables(repository.name, _as_name(name), columns, paths, {one: one for one in paths}, hub=hub)


def _name_of(path: Path) -> str:
    stem = re.sub(r"[-_.]?[*?\[].*", "", path.name).partition(".")[0]
    return _as_name(path.absolute().parent.name if stem.lower() in ("", *EVERYDAY) else stem)


def _as_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:80] or "own"


def _build(task: AnyTask, data: DataConfig, tables: Tables, roles: Roles) -> TaskConfig:
    columns = {split: _columns_of(tables, split, roles) for split in tables.columns}
    labels = {split: found[roles.label] for split, found in columns.items()}
    if TEST in labels and labels[TEST].values in ([], [UNLABELLED]):  # not for us to score
        require(
            data.test is None,
            f"data.test={data.test} has no labels in its column {roles.label!r}, so that there is nothing to score",
            "leave data.test out, or name a file with labels",
        )
        del labels[TEST]
    common: dict[str, Any] = {
        "name": tables.name if task.name == UNNAMED else task.name,
        "metrics": task.metrics or METRICS[roles.kind],
        "evaluation": task.evaluation,
        "test": task.test or [TEST] * (TEST in labels),
        "max_length": task.max_length,
        "hub": tables.hub,
        "files": tables.files,
        "table": TableSource(
            list(roles.inputs),
            roles.label,
            data.validation_share
            if VALIDATION in task.evaluation and VALIDATION not in tables.columns
            else 0.0,
        ),
    }
    require(
        common["name"] != MEAN,
        f"{tables.where} would be task={MEAN}, which is what reports call the mean over tasks",
        "say task.name=NAME",
    )
    require(
        common["name"] not in choices("task", [conf_dir()]),
        f"{tables.where} would be task={common['name']}, which is one of the benchmarks",
        "say task.name=NAME",
    )
    common["title"] = common["name"] if task.title == UNNAMED else task.title
    where = tables.where
    match roles.kind:
        case Kind.classification:
            complete = _complete(tables, labels)
            names = find_classes(where, task.labels, {tables.called[one]: complete[one] for one in complete})
            return ClassificationTask(**common, labels=names, texts=list(roles.inputs))
        case Kind.regression:
            low, high = _range(tables, labels)
            return RegressionTask(**common, texts=list(roles.inputs), minimum=low, maximum=high)
        case Kind.tagging:
            require(
                len(roles.inputs) == 1,
                f"task.texts={list(roles.inputs)}: a tagging task reads one column of words",
                "name one column",
            )
            return TaggingTask(
                **common, entities=_entities(where, task, labels[TRAIN]), long=task.long, stride=task.stride
            )
    plain = len(roles.inputs) == 1
    return GenerationTask(
        **common,
        serialization=Serialization.plain if plain else Serialization.lora,
        decoding=task.decoding,
        epoch_records=task.epoch_records,
    )


def _check_read(task: AnyTask, data: DataConfig, splits: Collection[str], kind: Kind) -> None:
    """Raises UserError where a setting was said that this kind of task, or these splits, have no use for: it would
    change nothing."""
    usual = AnyTask()
    for name in dict.fromkeys(name for names in READ.values() for name in names):
        users = [one.name for one, names in READ.items() if name in names]
        require(
            kind.name in users or getattr(task, name) == getattr(usual, name),
            f"task.{name} of data that are read as {kind.name}, which has no use for it",
            f"leave it out, or say task.kind={' or '.join(users)}",
        )
    why = (
        f"there is a split {VALIDATION}"
        if VALIDATION in splits
        else f"{VALIDATION} is not in task.evaluation"
    )
    require(
        data.validation_share == DataConfig.validation_share
        or (VALIDATION in task.evaluation and VALIDATION not in splits),
        f"data.validation_share={data.validation_share:g}, and {why}: nothing is held out for it",
        f"leave it out, or say data.held_out={data.validation_share:g} to hold out training data and be scored on it",
    )


def _columns_of(tables: Tables, split: str, roles: Roles) -> dict[str, Column]:
    found = {column.name: column for column in tables.columns[split]}
    for name in (*roles.inputs, roles.label):
        require(
            name in found,
            f"{tables.where}, {tables.called[split]}: there is no column {name!r} as in the training data; it has "
            f"{', '.join(found)}",
            "give all splits the same columns",
        )
    return found


def _complete(tables: Tables, labels: dict[str, Column]) -> dict[str, Column]:
    """The labels with all their values, also where a profile keeps none: that these are classes, somebody said."""
    return {
        split: replace(column, values=all_values(tables.paths[split], column.name))
        if column.values is None and column.single
        else column
        for split, column in labels.items()
    }


def _range(tables: Tables, labels: dict[str, Column]) -> tuple[float, float]:
    """Least and greatest number of all splits."""
    where = tables.where
    check_read(where, labels[TRAIN])
    for split, column in labels.items():
        require(
            column.numeric,
            f"{where}: {column.name} of {tables.called[split]} does not hold numbers alone, but {column.content}",
            "say task.kind=classification, or mend the column",
        )
    low = min(column.minimum for column in labels.values())
    high = max(column.maximum for column in labels.values())
    require(low < high, f"{where}: {labels[TRAIN].name} is {low:g} throughout", "name another task.label")
    return low, high


def _entities(where: str, task: AnyTask, tags: Column) -> list[str]:
    """Types of entities: said in task.labels, or in the order of the file's tags, or by the alphabet."""
    if task.labels:
        return list(task.labels)
    check_read(where, tags)
    require(
        tags.names is not None or tags.values is not None,
        f"{where}: {tags.name} is too long a list to read the types of entities off it",
        "name them: task.labels=[TYPE,...]",
    )
    found = list(tags.names or tags.values or [])
    if tags.content is Content.text:
        found = [tag for cell in found for tag in cell.split()]
    wrong = next((tag for tag in found if tag != OUTSIDE and not re.fullmatch(r"[BI]-.+", tag)), None)
    require(
        wrong is None,
        f"{where}: {tags.name} holds {wrong!r}; tags are O, B-type and I-type (IOB2)",
        "convert the tags, or name another task.label",
    )
    types = list(dict.fromkeys(tag[2:] for tag in found if tag != OUTSIDE))
    require(len(types) > 0, f"{where}: {tags.name} holds no entity", "name another task.label")
    return types if tags.names else sorted(types)
