"""What a run's folder holds, so that clearing it removes what the product wrote and nothing else.

A link is never followed: what lies behind it is somebody else's.
"""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autolora_bench.errors import UserError, reason


@dataclass(frozen=True)
class Layout:
    """Names, as regular expressions, of the product's own files in a folder and of the folders in it."""

    files: str
    folders: tuple[tuple[str, "Layout"], ...] = ()

    def owns(self, name: str) -> bool:
        """Whether a file of that name, or what is left of writing it, is the product's."""
        written = re.fullmatch(r"\.(.+)\.(?:writing|partial)", name)
        return re.fullmatch(self.files, written[1] if written else name) is not None

    def inside(self, name: str) -> "Layout | None":
        """The layout of a folder of that name; None where it is not the product's."""
        return next((layout for pattern, layout in self.folders if re.fullmatch(pattern, name)), None)


CHECKPOINT = Layout(r"WHOLE|[\w.-]+\.(safetensors|pt|pth|bin|json|jsonl)")
CHECKPOINTS = Layout(r"best\.safetensors", ((r"checkpoint-\d+", CHECKPOINT),))
"""The folder `checkpoints` of a phase."""
EXPORTED = "export"
"""The folder of a phase that holds the trained model for others."""
EXPORT = Layout(r"[\w.-]+\.(safetensors|json|jinja|model|spm)|vocab\.txt|merges\.txt|README\.md")
PHASE = Layout(
    r"weights\.safetensors|factors\.safetensors|(selection|ranks|scores|rank_pattern|rates|accumulation)\.json|trajectory\.(jsonl|partial)",
    (("checkpoints", CHECKPOINTS), (EXPORTED, EXPORT)),
)
EVALUATE = Layout(r"[\w-]+(\.partial|\.examples)?\.jsonl")
RUN = Layout(r"run\.json", (("evaluate", EVALUATE), (r"[a-z_]+", PHASE)))
"""The folder of one run, one seed; its lock is its owner's to remove."""


def clear(folder: Path, layout: Layout) -> None:
    """Remove the product's files below `folder` and the folders that are empty then, `folder` itself if it is.

    Raises:
        UserError: a link is where the product keeps a file or a folder; nothing behind it is touched.
        OSError: a file cannot be removed.
    """
    if folder.is_symlink():
        raise link_error(folder)
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        inner = layout.inside(path.name)
        if path.is_symlink() and (inner or layout.owns(path.name)):
            raise link_error(path)
        if path.is_dir():
            if inner is not None:
                clear(path, inner)
        elif path.is_file() and layout.owns(path.name):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()


def check_writable(results: str, make: bool) -> None:
    """Whether runs can be written to a results folder.

    Args:
        results: the folder, as it was said.
        make: make it and write to it; without it the folders that are there are looked at, and nothing is changed.

    Raises:
        UserError: they cannot.
    """
    try:
        root = Path(results).expanduser().absolute()
        if make:
            root.mkdir(parents=True, exist_ok=True)
        there = next(path for path in (root, *root.parents) if path.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
        tempfile.TemporaryFile(dir=there).close()  # leaves nothing behind
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody has such a home
        raise UserError(
            f"cannot write results to {results}: {reason(error)}", "choose another folder with results=DIR"
        ) from error


def link_in(root: Path, folder: Path) -> Path | None:
    """The first link between `root`, which may be one, and `folder`, or anywhere below that; None without any."""
    above = [folder, *folder.parents]
    chain = above[: above.index(root)][::-1] if root in above else [folder]
    return next((path for path in [*chain, *_below(folder)] if path.is_symlink()), None)


def link_error(link: Path) -> UserError:
    """The error that names it."""
    return UserError(
        f"{link} is a link: a run writes into folders of its own only, and clears nothing behind a link",
        "remove the link, or choose another folder with results=DIR (which may be a link itself)",
    )


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in sorted([*folders, *files]))
