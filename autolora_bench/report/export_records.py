"""Records without weights: small enough to be committed, and without the folders of the machine they were made on."""

import json
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from autolora_bench.errors import UserError
from autolora_bench.paths import RECORD, relative_folder
from autolora_bench.portable import (
    FOLDERS,
    places_in,
    places_of,
    portable_command,
    portable_value,
    without_folders,
)
from autolora_bench.record import RunRecord, read_record, record_from, write_atomically, write_record
from autolora_bench.report.artefacts import DRAWN_POINTS, artefact_path, evenly, read_json, read_search_path
from autolora_bench.report.runs import flatten

LOCATIONS = (*FOLDERS, "data.train", "data.validation", "data.test")
"""What a record says of where things lay: the files' checksums stand in its configuration."""
COPIED = (("search", "selection.json"), ("threshold", "ranks.json"))
"""Phase and file: what tables and figures read beside the record."""
DECIMALS = 5
"""Of a trajectory, which is only drawn."""
TO = "to=DIR"
"""The words that choose another folder."""


class StrayRecordError(UserError):
    """A record whose names lead out of the folder that it is to be written into."""


def thin_folder(root: Path, folder: Path, record: RunRecord) -> Path:
    """Where below `root` the record's identity puts it; never where a run keeps its own record and artefacts.

    Args:
        root: the folder of all records.
        folder: the run's own folder.
        record: its record.

    Raises:
        StrayRecordError: the record's names lead out of `root`.
        UserError: what lies there is not a thin record.
    """
    target = root / relative_folder(*record.identity)
    if not target.resolve().is_relative_to(root.resolve()):
        raise StrayRecordError(
            f"{folder}: the names in its record lead out of {root}", "mend or remove that record"
        )
    if target.resolve() == folder.resolve() or not _may_be_replaced(target / RECORD):
        raise UserError(
            f"{target} is a run's own folder: a small record would overwrite what is there",
            "give to= a folder other than the runs', as in: to=results/records",
        )
    return target


def _may_be_replaced(path: Path) -> bool:
    """Whether nothing is there, or a record that has been thinned already: a run's own says where its data lay."""
    if not path.exists():
        return True
    there = read_record(path)
    return there.locations.keys().isdisjoint(LOCATIONS) and not any(phase.checksums for phase in there.phases)


def write_thin(target: Path, folder: Path, record: RunRecord) -> list[str]:
    """Write the record, the end of its search and a thinned trajectory.

    The same run gives the same bytes, wherever it lay.

    Args:
        target: where `thin_folder` puts it.
        folder: the run's own folder.
        record: its record.

    Returns:
        A line for every setting that names a folder of the machine and stays, as it is part of the run's identity.

    Raises:
        UserError: an artefact is not what it should be, or `target` cannot be written.
    """
    texts = {
        (phase, name): _json(read_json(path))
        for phase, name in COPIED
        if (path := artefact_path(folder, record, phase, name)) is not None
    }
    texts["search", "trajectory.jsonl"] = _trajectory(folder, record)
    for (phase, name), text in texts.items():
        if text:
            place = artefact_path(folder, record, phase, name)
            assert place is not None
            write_atomically(target / place.relative_to(folder), text, TO)
    write_record(target, thin_record(record), TO)
    settings = flatten(record.config)
    return [f"{name}={value}" for name, value in settings.items() if portable_value(value) != value]


def thin_record(record: RunRecord) -> RunRecord:
    """The record with absolute paths cut to their last part, and without the locations of the machine."""
    values = {name: value for name, value in asdict(record).items() if name != "config"}
    said = {**flatten(record.locations), **flatten(record.config)}
    places = places_of(record.command) | places_in(said.values())
    thin = record_from({**_cut(values, places), "config": record.config})
    locations = {name: value for name, value in record.locations.items() if name not in LOCATIONS}
    phases = [replace(phase, checksums={}) for phase in thin.phases]  # of files that are thinned too
    return replace(thin, command=portable_command(record.command), locations=locations, phases=phases)


def _trajectory(folder: Path, record: RunRecord) -> str:
    """JSON lines of as many points as a figure draws; empty where there is no trajectory."""
    path = read_search_path(folder, record)
    if path is None:
        return ""
    return "".join(
        _json({"step": int(path.steps[point]), "alpha": np.round(path.alpha[point], DECIMALS).tolist()})
        for point in evenly(len(path.steps), DRAWN_POINTS)
    )


def _json(values: dict[str, Any]) -> str:
    return json.dumps(_cut(values), ensure_ascii=False, separators=(",", ":")) + "\n"


def _cut(value: Any, places: Collection[str] = ()) -> Any:
    """The value with every absolute path in it cut to its last part, `places` with their blanks."""
    if isinstance(value, str):
        return without_folders(value, places)
    if isinstance(value, dict):
        return {name: _cut(one, places) for name, one in value.items()}
    return [_cut(one, places) for one in value] if isinstance(value, list | tuple) else value
