"""Which files a task reads from data.dir, and what they hash to. No heavy import: a plan needs this before torch."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from autolora_bench.checksums import sha256
from autolora_bench.config.data import HELD_OUT, DataConfig, Source
from autolora_bench.config.identity import identity
from autolora_bench.config.task import (
    TABLES,
    FilesSource,
    GeneratedSource,
    HubSource,
    Layout,
    LocalSource,
    PlantedSource,
    RecoveryTask,
    TaskConfig,
)
from autolora_bench.errors import UserError
from autolora_bench.tables.read import WILD, find_files

SUFFIXES = {Layout.glue_tsv: ".tsv", Layout.iob2: ".iob2", Layout.e2e_csv: ".csv", Layout.webnlg_xml: ".xml"}
GENERATOR_VERSION = 1
"""Counts up whenever the generators' output changes."""


def split_names(task: TaskConfig) -> list[str]:
    """train, then the splits of the source that the task evaluates and tests on, each once. A recovery task cuts those
    from train, and so does data.held_out."""
    if isinstance(task, RecoveryTask):
        return ["train"]
    names = dict.fromkeys(["train", *task.evaluation, *task.test])
    return [name for name in names if name != HELD_OUT]


def local_source(task: TaskConfig) -> LocalSource:
    """Where the task's files lie. Raises UserError where the task has none."""
    if task.local is None:
        raise _no_source(task, "local files", "local")
    return task.local


def hub_source(task: TaskConfig) -> HubSource:
    """Where on the hub the task is. Raises UserError where it is not."""
    if task.hub is None:
        raise _no_source(task, "hub data set", "hub")
    return task.hub


def generated_source(task: TaskConfig) -> GeneratedSource:
    """How examples are generated. Raises UserError where the task has no generator."""
    if task.generated is None:
        raise _no_source(task, "generator", "generated")
    return task.generated


def files_source(task: TaskConfig) -> FilesSource:
    """What is in the user's own files. Raises UserError where the task reads none."""
    if task.files is None:
        raise _no_source(task, "files of your own", "files")
    return task.files


def own_files(task: TaskConfig, data: DataConfig) -> dict[str, list[Path]]:
    """Split -> the user's own files.

    Raises:
        UserError: one is gone, or holds something else than when the run was planned.
    """
    planned = files_source(task).sha256
    found = {split: find_files(str(getattr(data, split)), f"data.{split}") for split in planned}
    for split, paths in found.items():
        if [sha256(path) for path in paths] != planned[split]:
            raise UserError(
                f"data.{split}={getattr(data, split)} changed since this run was planned",
                "put back what was there, or start the command again for a run of the new data",
            )
    return found


def planted_source(task: TaskConfig) -> PlantedSource:
    """How random inputs are drawn. Raises UserError where the task needs texts."""
    if task.planted is None:
        raise _no_source(task, "random inputs", "planted")
    return task.planted


def local_files(task: TaskConfig, data: DataConfig) -> dict[str, list[Path]]:
    """Split -> its files, a folder's in the order of their relative paths.

    Raises:
        UserError: data.dir is not set, or a file or folder is missing or holds no file of the layout.
    """
    source = local_source(task)
    folder = _data_folder(data)
    return {split: _split_files(source, folder, split) for split in split_names(task)}


def file_fingerprint(task: TaskConfig, data: DataConfig) -> str:
    """SHA-256 of what decides the examples: the bytes of local files, or the settings of the hub, generator or draw.

    Raises:
        UserError: as local_files.
    """
    digest = hashlib.sha256()
    match data.source:
        case Source.local:
            for part in _content(local_files(task, data), _data_folder(data)):
                digest.update(part)
        case Source.hub:
            hub = hub_source(task)
            digest.update(json.dumps([hub.path, hub.revision, hub.files, hub.where], sort_keys=True).encode())
        case Source.generated:
            generated = generated_source(task)
            settings = [generated.generator, generated.rows, data.generator_seed, GENERATOR_VERSION]
            digest.update(json.dumps(settings, sort_keys=True).encode())
        case Source.files:
            digest.update(json.dumps(files_source(task).sha256, sort_keys=True).encode())
        case Source.planted:
            length = planted_source(task).length
            drawn = [length, data.generator_seed, identity(task), GENERATOR_VERSION]
            digest.update(json.dumps(drawn, sort_keys=True).encode())
    return digest.hexdigest()


def file_digests(task: TaskConfig, data: DataConfig) -> dict[str, str]:
    """SHA-256 of every file that the task reads, by its path below data.dir, or by split and name for the user's own;
    empty for other sources.

    Raises:
        UserError: as local_files.
    """
    if data.source is Source.files:
        own = own_files(task, data)
        return {f"{split}/{path.name}": sha256(path) for split, paths in own.items() for path in paths}
    if data.source is not Source.local:
        return {}
    folder = _data_folder(data)
    paths = [path for paths in local_files(task, data).values() for path in paths]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def _data_folder(data: DataConfig) -> Path:
    if not data.dir:
        raise UserError(
            "data=local needs the folder of the files",
            "add data.dir=FOLDER, or use data=hub or data=generated",
        )
    folder = Path(data.dir).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"data.dir: there is no folder {folder}", "set data.dir to the folder of the publisher's files"
        )
    return folder


def _split_files(source: LocalSource, folder: Path, split: str) -> list[Path]:
    if split not in source.splits:
        raise UserError(
            f"the task names no file for its split {split!r}", f"add local.splits.{split} to the task's YAML"
        )
    path = folder / source.splits[split]
    if source.layout in TABLES and (path.exists() or any(letter in path.name for letter in WILD)):
        return _table_files(source, path, f"local.splits.{split}")
    if path.is_file():
        return [path]
    suffix = SUFFIXES.get(source.layout, "")
    if not path.is_dir():
        raise UserError(
            f"{path} does not exist (data.dir={folder})",
            f"put {source.splits[split]} under data.dir, or set data.dir to the folder that holds it",
        )
    found = sorted(path.rglob(f"*{suffix}"), key=lambda file: file.relative_to(path).as_posix())
    if not found:
        raise UserError(f"{path} holds no {suffix} file (data.dir={folder})", "download the data again")
    return found


def _table_files(source: LocalSource, path: Path, setting: str) -> list[Path]:
    """The files that a path stands for, all of the layout. Raises UserError where there are none, or others."""
    found = find_files(str(path), setting)
    wrong = next((file for file in found if file.suffix.lower() not in TABLES[source.layout]), None)
    if wrong is not None:
        fitting = next(layout.name for layout, endings in TABLES.items() if wrong.suffix.lower() in endings)
        raise UserError(
            f"{wrong} is no file of local.layout={source.layout.name}",
            f"say layout: {fitting} in the task's YAML",
        )
    return found


def _content(files: dict[str, list[Path]], folder: Path) -> Iterator[bytes]:
    for split, paths in sorted(files.items()):
        for path in paths:
            yield f"{split}\0{path.relative_to(folder).as_posix()}\0".encode()
            yield bytes.fromhex(sha256(path))


def _no_source(task: TaskConfig, what: str, name: str) -> UserError:
    others = [f"data={source.name}" for source in Source if getattr(task, source.name) is not None]
    mend = f"use {' or '.join(others)}" if others else f"add `{name}:` to the task's YAML"
    return UserError(f"task {task.name} has no {what} (data={name})", mend)
