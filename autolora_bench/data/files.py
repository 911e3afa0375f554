"""Which files a task reads from data.dir, and what they hash to. No heavy import: a plan needs this before torch."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import (
    GeneratedSource,
    HubSource,
    Layout,
    LocalSource,
    PlantedSource,
    RecoveryTask,
    TaskConfig,
)
from autolora_bench.errors import UserError

SUFFIXES = {Layout.glue_tsv: ".tsv", Layout.iob2: ".iob2", Layout.e2e_csv: ".csv", Layout.webnlg_xml: ".xml"}
ABSTRACT = "###MEDLINE:"
"""Begins the lines of JNLPBA's own files that name an abstract."""
GENERATOR_VERSION = 1
"""Counts up whenever the generators' output changes."""


def split_names(task: TaskConfig) -> list[str]:
    """train, then the splits that the task evaluates and tests on, each once; a recovery task cuts those from train."""
    if isinstance(task, RecoveryTask):
        return ["train"]
    return list(dict.fromkeys(["train", *task.evaluation, *task.test]))


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
        case Source.planted:
            drawn = [planted_source(task).length, data.generator_seed]
            digest.update(json.dumps(drawn).encode())
    return digest.hexdigest()


def read_text(path: Path) -> str:
    """A UTF-8 file without its byte-order mark, line ends as they are.

    Raises:
        UserError: the file cannot be read, is empty or is not UTF-8.
    """
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8",
            "convert the file to UTF-8",
        ) from error


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises UserError where it cannot be read or is empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "check the file and its permissions"
        ) from error
    if not content.strip():
        raise UserError(f"{path} is empty", "download the file again")
    return content


def lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end). Only LF and CRLF end a line: fields may hold any other separator."""
    parts = text.split("\n")
    if parts[-1] == "":
        parts.pop()
    for number, line in enumerate(parts, start=1):
        yield number, line.removesuffix("\r")


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
    if path.is_file():
        return [path]
    suffix = SUFFIXES[source.layout]
    if not path.is_dir():
        raise UserError(
            f"{path} does not exist (data.dir={folder})",
            f"put {source.splits[split]} under data.dir, or set data.dir to the folder that holds it",
        )
    found = sorted(path.rglob(f"*{suffix}"), key=lambda file: file.relative_to(path).as_posix())
    if not found:
        raise UserError(f"{path} holds no {suffix} file (data.dir={folder})", "download the data again")
    return found


def _content(files: dict[str, list[Path]], folder: Path) -> Iterator[bytes]:
    for split, paths in sorted(files.items()):
        for path in paths:
            yield f"{split}\0{path.relative_to(folder).as_posix()}\0".encode()
            yield hashlib.sha256(read_bytes(path)).digest()


def _no_source(task: TaskConfig, what: str, name: str) -> UserError:
    others = [f"data={source.name}" for source in Source if getattr(task, source.name) is not None]
    mend = f"use {' or '.join(others)}" if others else f"add `{name}:` to the task's YAML"
    return UserError(f"task {task.name} has no {what} (data={name})", mend)
