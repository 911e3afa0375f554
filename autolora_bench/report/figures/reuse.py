"""Figures that were drawn before from the very same records: kept in the cache, as drawing takes seconds."""

import hashlib
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from uuid import uuid4

from autolora_bench.config.own_folder import yaml_files
from autolora_bench.config.registry import methods, metric_digests, own_folders
from autolora_bench.paths import RECORD, cache_dir, conf_dir, results_dir
from autolora_bench.plan import PlannedRun
from autolora_bench.report.collect import Collection
from autolora_bench.report.figures.style import Picture

KEPT = 20
"""Reports; the one that was not used for longest goes first."""
LIBRARIES = ("matplotlib", "numpy", "pandas", "scipy")


def report_key(
    collection: Collection,
    planned: Sequence[PlannedRun] | None,
    said: Sequence[str],
    published: Sequence[Path],
) -> str | None:
    """Changes whenever a figure of a report may: with a record, with what was asked for, with the program, with the
    user's own folder, whose titles and families are drawn.

    Args:
        collection: the report's records.
        planned: what was meant to be run.
        said: the report's other options.
        published: files of published values.

    Returns:
        None where records have no folder, as those that a program made.
    """
    folders = [collection.folders.get(record.identity) for record in collection.records]
    digest = hashlib.sha256()
    for part in _parts([folder for folder in folders if folder is not None], planned, said, published):
        digest.update(len(part).to_bytes(8, "big") + part)
    return None if None in folders else digest.hexdigest()[:32]


def _parts(
    folders: Sequence[Path],
    planned: Sequence[PlannedRun] | None,
    said: Sequence[str],
    published: Sequence[Path],
) -> Iterator[bytes]:
    package = Path(__file__).parents[2]
    files = [*sorted(package.rglob("*.py")), *sorted(conf_dir().rglob("*.yaml"))]
    files += [path for folder in own_folders for path in yaml_files(folder)]
    files += [*sorted(results_dir().glob("*.csv")), *published]
    files += [path for folder in folders for path in (folder / RECORD, *sorted(folder.glob("*/*.json*")))]
    for path in files:
        yield str(path).encode("utf-8", "surrogateescape")
        yield path.read_bytes() if path.is_file() else b""
    for run in planned or ():
        titles = run.experiment.task.title, run.experiment.method.title
        yield repr((run.identity, run.command, titles)).encode("utf-8", "backslashreplace")
    own_code = [*(kind.digests for kind in methods().values()), *metric_digests.values()]
    yield repr(sorted(pair for one in own_code for pair in one.items())).encode("utf-8", "backslashreplace")
    versions = [platform.python_version(), *(f"{name} {metadata.version(name)}" for name in LIBRARIES)]
    for word in (*said, "planned" if planned is not None else "all", *versions):
        yield word.encode("utf-8", "backslashreplace")


def reused(pictures: Sequence[Picture], key: str | None) -> list[Picture]:
    """The same pictures, drawn only where the cache has not what a report with this key drew before."""
    if key is None:
        return list(pictures)
    folder = cache_dir() / "figures" / key
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        _remove_oldest(folder.parent)
    return [_kept(picture, folder) for picture in pictures]


def _kept(picture: Picture, folder: Path) -> Picture:
    def render(form: str) -> bytes:
        path = folder / f"{picture.name}.{form}"
        with suppress(OSError):
            checksum, content = _taken_apart(path.read_bytes())
            if hashlib.sha256(content).digest() == checksum:
                return content
        content = picture.render(form)
        partial = path.with_name(f".{uuid4().hex}")
        with suppress(OSError):  # a cache that cannot be written is no cache
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(partial, path)
        return content

    return replace(picture, render=render)


def _taken_apart(kept: bytes) -> tuple[bytes, bytes]:
    """Checksum and content: a power cut may leave a file of the right length and the wrong bytes."""
    size = hashlib.sha256().digest_size
    return kept[:size], kept[size:]


def _remove_oldest(root: Path) -> None:
    for old in sorted(root.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
