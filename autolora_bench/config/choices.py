"""What can be chosen: the YAML files of conf/ and of the user's own --config-dir."""

from pathlib import Path
from typing import Any

import yaml

from autolora_bench.config.identity import SHUFFLED
from autolora_bench.errors import UserError, nearest

GROUPS = ("task", "method", "model", "data", "train", "suite")
OPTIONAL_GROUPS = ("shared", "recipe", "cell")
"""Groups of which nothing need be chosen, or whose default choice need not be there: it is interpolated from others."""
KINDS = {"tasks": "task", "models": "model", "methods": "method", "suites": "suite", "data": "data"}
"""The groups of which there are lists, by the lists' names."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's in C, where it was built with it: a tenth of the time."""


def choices(group: str, folders: list[Path]) -> dict[str, Path]:
    """Names of a group, sorted, with their files.

    Names of files in folders of the group are as `minilm/rte`.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in filter(Path.is_file, (folder / group).rglob("*.yaml")):
            found.setdefault(path.relative_to(folder / group).with_suffix("").as_posix(), path)
    return dict(sorted(found.items()))


def summary(path: Path) -> str:
    """The first comment line of a YAML file, Hydra's own directives apart."""
    comments = (
        line.lstrip("# ").strip() for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#"
    )
    return next((comment for comment in comments if not comment.startswith("@package")), "")


def explanation(path: Path) -> list[str]:
    """The comment that a YAML file begins with, line by line."""
    found: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            found.append(line.removeprefix("#").removeprefix(" "))
    return found


def schema_of(group: str, name: str, folders: list[Path], above: tuple[str, ...] = ()) -> str | None:
    """The schema that a choice is built on, perhaps through choices that it extends; None where it does not say.

    Args:
        group: of the choice.
        name: the choice.
        folders: configuration folders.
        above: the choices that extend it: one of them again is a ring, which says nothing.

    Raises:
        UserError: the file of one of them cannot be read.
    """
    places = [folder / group / f"{name}.yaml" for folder in folders if name not in above]
    path = next(filter(Path.is_file, places), None)
    read = _read(path) if path is not None else None
    defaults = read.get("defaults") if isinstance(read, dict) else None
    entries = defaults if isinstance(defaults, list) else []
    for base in (entry.partition("@")[0] for entry in entries if isinstance(entry, str)):
        prefix = f"/schema/{group}/"
        found = (
            base.removeprefix(prefix)
            if base.startswith(prefix)
            else schema_of(group, base, folders, (*above, name))
        )
        if found is not None:
            return found
    return None


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"configuration: {path} cannot be read: {said}", "mend it, or compare it with conf/"
        ) from error


def check_choice(group: str, name: str, folders: list[Path]) -> None:
    """Raises UserError, with the nearest names, where `name` is no choice of `group`."""
    known = choices(group, folders)
    if name not in known:
        listed = group if group in KINDS else f"{group}s"
        shown = f"autolora-bench ls {listed} shows all" if listed in KINDS else f"conf/{group}/ holds all"
        task = name.removesuffix(SHUFFLED)
        if group == "task" and task != name and task in known:
            raise UserError(
                f"task={name} is what records call task={task} with shuffled labels",
                f"say task={task} data.shuffle_labels=true",
            )
        raise UserError(f"{group}={name} is not known", f"{nearest(name, known)}{shown}")
