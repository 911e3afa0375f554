"""Finds the records below one or several folders and merges them by identity."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from autolora_bench.errors import UserError, listed
from autolora_bench.metrics.registry import METRICS, whole_of
from autolora_bench.record import RunRecord, Status, find_records, read_record

Identity = tuple[str, str, str, str, int]
LARGEST = 1e100
"""A score beyond it, of whatever metric, has squares and sums that are no numbers."""
SAID = 3
"""So many records that cannot be read are named in one message."""
PLAIN = (int, float, bool, type(None), Status)


@dataclass(frozen=True)
class Conflict:
    """One identity whose records disagree; the first folder's record is the one that is reported."""

    identity: Identity
    kept: Path
    other: Path
    difference: str

    def __str__(self) -> str:
        return f"{describe(self.identity)}: {self.kept} is used, {self.other} differs ({self.difference})"


@dataclass(frozen=True)
class Unreadable:
    """A run.json that cannot be read as a record, or has a score that there cannot be."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass
class Collection:
    """Records of distinct identity, where each came from, and what was left out and why."""

    records: list[RunRecord] = field(default_factory=list)
    folders: dict[Identity, Path] = field(default_factory=dict)
    """The run's folder of every record."""
    conflicts: list[Conflict] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    duplicates: int = 0
    """Records that repeat another one's scores."""
    links: list[Path] = field(default_factory=list)
    """Links to other folders with records, which were not followed."""


def collect(*folders: Path) -> Collection:
    """Read every record below each of the folders, one's own first.

    Of two records with one identity a completed one goes before any other; else the first one found stays.
    Completed records of one identity with different scores are reported as a conflict.

    Raises:
        UserError: a folder does not exist.
    """
    collection = Collection()
    found: dict[Identity, RunRecord] = {}
    for root in folders:
        if not root.is_dir():
            raise UserError(
                f"there is no folder {root}",
                "give the folder that holds the runs: results=DIR or records=DIR",
            )
        links: list[Path] = []
        for path in find_records(root, links):
            _add(collection, found, path)
        collection.links += [link for link in links if next(find_records(link.resolve()), None) is not None]
    collection.records = list(found.values())
    return collection


def no_records(collection: Collection) -> UserError:
    """Why a collection without records has none: nothing was found, or what hinders each that was."""
    found = [*map(str, collection.unreadable), *(f"{link} is a link" for link in collection.links)]
    if not found:
        return UserError(
            "there is nothing to report: no record was found", "run something, or say where: results=DIR"
        )
    return UserError(
        f"there is nothing to report: no record can be read: {listed(found, SAID, '; ')}",
        "repair them or move them away; name the folder that a link leads to: results=DIR",
    )


def distinct(records: Sequence[RunRecord]) -> Collection:
    """Records that were not read from a folder, each run once, as `collect` has it.

    Raises:
        UserError: two completed records of one run have different scores, or one has a score that there cannot be.
    """
    found: dict[Identity, RunRecord] = {}
    for record in map(legible, records):
        if wrong := impossible_score(record):
            raise UserError(f"the record of {describe(record.identity)}: {wrong}", "leave it out")
        earlier = found.setdefault(record.identity, record)
        if earlier is record or record.status is not Status.completed:
            continue
        if earlier.status is Status.completed and (difference := scores_differ(earlier, record)):
            raise UserError(
                f"two records of {describe(record.identity)} differ: {difference}", "leave one of them out"
            )
        found[record.identity] = record
    return Collection(list(found.values()))


def legible(record: RunRecord) -> RunRecord:
    """The record with a sign for every character that no terminal, page or file should be given as it is.

    Records come from strangers: control characters move a terminal's cursor, half a surrogate pair has no encoding.
    """
    return record if _is_legible(record) else cast(RunRecord, _legible(record))


def _is_legible(value: Any) -> bool:
    """Nearly all records are; this looks at every value and copies none."""
    kind = type(value)
    if kind is str:
        return bool(value.isprintable())
    if kind is dict:
        return all(map(_is_legible, value)) and all(map(_is_legible, value.values()))
    if kind is list:
        return all(map(_is_legible, value))
    return kind in PLAIN or all(map(_is_legible, getattr(value, "__dict__", {}).values()))


def _legible(value: Any) -> Any:
    if type(value) is str:
        return "".join(map(_sign, value))
    if isinstance(value, dict):
        return {_legible(name): _legible(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_legible(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{name: _legible(one) for name, one in vars(value).items()})
    return value


def _sign(char: str) -> str:
    if char.isprintable() or char in "\n\t":
        return char
    return " " if char.isspace() else "\N{REPLACEMENT CHARACTER}"


def _add(collection: Collection, found: dict[Identity, RunRecord], path: Path) -> None:
    try:
        record = legible(read_record(path))
    except UserError as error:
        reason = error.what.removeprefix(str(path)).lstrip(" :")
        collection.unreadable.append(Unreadable(path, reason.removeprefix("is not a readable record: ")))
        return
    if wrong := impossible_score(record):
        collection.unreadable.append(Unreadable(path, wrong))
        return
    identity = record.identity
    earlier = found.get(identity)
    if earlier is None:
        found[identity], collection.folders[identity] = record, path.parent
        return
    if collection.folders[identity].resolve() == path.parent.resolve():
        return
    if record.status is Status.completed and earlier.status is not Status.completed:
        found[identity], collection.folders[identity] = record, path.parent
        return
    _compare(collection, earlier, record, path)


def _compare(collection: Collection, earlier: RunRecord, record: RunRecord, path: Path) -> None:
    if record.status is not Status.completed:
        return
    difference = scores_differ(earlier, record)
    if difference is None:
        collection.duplicates += 1
    else:
        kept = collection.folders[record.identity]
        collection.conflicts.append(Conflict(record.identity, kept, path.parent, difference))


def impossible_score(record: RunRecord) -> str | None:
    """The first score outside the range of a metric that is known here, in words; None where all lie in theirs.

    Means over seeds would hide it: 80.0 among fractions, for one. No score of any metric may be beyond `LARGEST`.
    """
    named = [
        (f"{name}.{split}", one)
        for name in ("best", "last", "test")
        for split, one in getattr(record, name).items()
    ]
    for where, one in [*named, *((f"history.{n}", one) for n, one in enumerate(record.history))]:
        for score, value in one.scores.items():
            metric = METRICS.get(whole_of(score))
            if value is None:
                continue
            if metric is not None and not metric.holds(value):
                return f"score {score} of {where} is {value:g}, its range is {metric.span}"
            if abs(value) > LARGEST:
                return f"score {score} of {where} is {value:g}, too large to be averaged"
    return None


def scores_differ(one: RunRecord, other: RunRecord) -> str | None:
    """The first score in which two records differ, in words; None where all are equal."""
    for name in ("best", "last", "test"):
        first, second = getattr(one, name), getattr(other, name)
        for split in sorted({*first, *second}):
            a = first[split].scores if split in first else {}
            b = second[split].scores if split in second else {}
            for metric in sorted({*a, *b}):
                if a.get(metric) != b.get(metric):
                    return f"{name} {split} {metric}: {a.get(metric)} against {b.get(metric)}"
    return None


def describe(identity: Sequence[object]) -> str:
    """One line that names a run: task, model, method, configuration and seed."""
    task, model, method, config, seed = identity
    return f"{task} / {model} / {method} ({config}) seed {seed}"
