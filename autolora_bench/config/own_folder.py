"""What a folder given by --config-dir may hold: settings that end, and nothing that Hydra would call.

Such a folder may be a stranger's. Hydra imports and calls what a configuration names (`_target_`, callbacks, loggers,
the environment of a job, a launcher's shell commands), and YAML can include itself or grow a billionfold. Every file is
therefore read here, event by event, before Hydra sees one. What the command line itself says is its user's.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir

BYTES = 2**18
DEPTH = 50
VALUES = 100_000
"""Most that a file may be: bytes, levels of nesting, and values once aliases are written out."""
INCLUDED = 1000
"""Most files that a file may include through its defaults lists, counted as often as they are included."""
ENGINES = {
    "launcher": ("basic", "joblib", "ray", "submitit_local", "submitit_slurm"),
    "sweeper": ("basic", "optuna"),
    "sweeper/sampler": ("cmaes", "gp", "grid", "motpe", "nsgaii", "random", "tpe", "tpe_early"),
}
"""Hydra's groups that a defaults list may choose from, with the choices of the project's extras."""
TEXTS = ("direction", "study_name")
"""Settings of a sweeper that are words."""
TARGET = "_target_"
RESOLVER = re.compile(r"\$\{[^}]*(:|\$\{)")
"""An interpolation that asks a resolver, as for a variable of the environment, or whose own name is interpolated."""
PACKAGE = re.compile(r"^\s*#\s*@package\b.*\bhydra\b", re.MULTILINE)
MEND = (
    "a folder of --config-dir states settings: of Hydra's own hydra.mode, hydra.sweeper.params and numbers of its "
    "sweeper and launcher; say anything else on the command line"
)
Defaults = list[tuple[str, str]]
"""Group (from the root) and choice of every entry of a defaults list."""


def check_own_folder(folder: Path) -> None:
    """Read every YAML file of a user's configuration folder.

    Raises:
        UserError: a file that cannot be read, is too large once written out, includes itself, names something that
            would be called, or has the name of a shipped one and says something else: Hydra would take the shipped one.
    """
    included: dict[str, Defaults] = {}
    for path in yaml_files(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        read = _read(path)
        shipped = conf_dir() / path.relative_to(folder)
        if shipped.is_file() and shipped.read_bytes() != path.read_bytes():
            raise UserError(
                f"{path} has the name of a file that is shipped, conf/{name}.yaml",
                "give it a name of its own, and choose it by that",
            )
        if (
            re.fullmatch(r"task/[^/]+", name)
            and (conf_dir() / "cell" / path.stem).is_dir()
            and not shipped.is_file()
        ):
            raise UserError(
                f"{path} names a task {path.stem!r}, and conf/cell/{path.stem} holds settings of methods for something "
                "else of that name, which would be taken for the task's",
                "give it another name",
            )
        if name.split("/")[0] == "hydra":
            raise UserError(f"{path} is about Hydra itself", MEND)
        _check_hydra(read.get("hydra") if isinstance(read, dict) else None, path)
        _check_texts(read, "", path)
        included[name] = list(_defaults(read, path, name))
    _check_inclusions(included, folder)


def yaml_files(folder: Path) -> Iterator[Path]:
    """The YAML files of a configuration folder, through links too, as Hydra follows them."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(folders)
        seen.add(real)
        yield from (Path(place, name) for name in sorted(names) if name.endswith(".yaml"))


def _read(path: Path) -> Any:
    """The file's content, once it is known that reading it ends and calls nothing."""
    try:
        if not path.is_file():
            raise UserError(f"{path} is no file", "save it as UTF-8 text")
        if path.stat().st_size > BYTES:
            raise UserError(f"{path} has more than {BYTES} bytes", "keep settings alone in it")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}", "save it as UTF-8 text") from error
    if PACKAGE.search(text):
        raise UserError(f"{path} is of a package of Hydra itself", MEND)
    try:
        _check_events(text, path)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that none can be
        said = " ".join(str(error).split())
        raise UserError(
            f"configuration: {path} cannot be read: {said}", "mend it, or compare it with conf/"
        ) from error


def _check_events(text: str, path: Path) -> None:
    """Raises UserError for a text that is too deep or, once aliases are written out, too large."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []  # anchor of each enclosing collection, values before it
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise UserError(
                    f"{path} contains itself: *{event.anchor} inside &{event.anchor}", "write it out"
                )
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, total))
            if len(opened) > DEPTH:
                raise UserError(f"{path} nests more than {DEPTH} levels deep", "keep settings alone in it")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if total > VALUES:
            raise UserError(f"{path} stands for more than {VALUES} values", "keep settings alone in it")


def _check_texts(node: Any, key: str, path: Path) -> None:
    """Raises UserError for the first text, key or value, that names a target or asks a resolver."""
    if isinstance(node, dict):
        for name, value in node.items():
            at = f"{key}.{name}".lstrip(".")
            _check_texts(str(name), at, path)
            _check_texts(value, at, path)
    elif isinstance(node, list):
        for value in node:
            _check_texts(value, key, path)
    elif isinstance(node, str) and TARGET in node:
        raise UserError(f"{path} names something to be called: {key}", MEND)
    elif isinstance(node, str) and RESOLVER.search(node):
        raise UserError(
            f"{path} asks beyond the configuration: {key}: {node[:80]}",
            "name a setting alone, as in ${task}; what reads the environment is said on the command line",
        )


def _check_hydra(node: Any, path: Path) -> None:
    """Raises UserError for the first of Hydra's own settings that a folder may not say."""
    for name, value in node.items() if isinstance(node, dict) else ():
        if name in ("sweeper", "launcher") and isinstance(value, dict):
            _check_engine(f"hydra.{name}", value, path)
        elif name not in ("mode", "sweeper", "launcher"):
            raise UserError(f"{path} says hydra.{name}", MEND)


def _check_engine(at: str, node: Mapping[Any, Any], path: Path) -> None:
    for name, value in node.items():
        if at == "hydra.sweeper" and name == "params":
            for swept, values in value.items() if isinstance(value, dict) else ():
                climbs = "." not in str(swept) and ".." in str(values)
                if climbs or "hydra" in re.split(r"[+~@./:]", str(swept)):
                    raise UserError(f"{path} sweeps over {swept}: {values}", MEND)
        elif at == "hydra.sweeper" and name == "sampler" and isinstance(value, dict):
            _check_engine(f"{at}.{name}", value, path)
        elif not (value is None or isinstance(value, bool | int | float) or name in TEXTS):
            raise UserError(f"{path} says {at}.{name}", MEND)


def _defaults(read: Any, path: Path, name: str) -> Iterator[tuple[str, str]]:
    """What a file's defaults list includes. Raises UserError where it leads out of the folder or into Hydra."""
    entries = read.get("defaults") if isinstance(read, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        said = entry.items() if isinstance(entry, dict) else [(None, entry)]
        for key, values in said:
            for value in values if isinstance(values, list) else [values]:
                yield _entry(key, value, path, name)


def _entry(key: Any, value: Any, path: Path, name: str) -> tuple[str, str]:
    shown = value if key is None else f"{key}: {value}"
    group, _, package = ("" if key is None else str(key).split()[-1]).partition("@")
    choice, _, of_choice = str(value).partition("@")
    if group.startswith("/") or choice.startswith("/"):
        whole = f"{group}/{choice}".strip("/")
    else:
        whole = "/".join(part for part in (name.rpartition("/")[0], group, choice) if part)
    group, _, choice = whole.rpartition("/")
    if ".." in whole.split("/") or "hydra" in re.split(r"[.:]", f"{package}.{of_choice}"):
        raise UserError(f"{path} includes {shown}", MEND)
    if group.split("/")[0] == "hydra" or choice == "hydra":
        engine = group.removeprefix("hydra/").split("@")[0]
        if choice not in ENGINES.get(engine, ()):
            known = ", ".join(f"{one} {' or '.join(names)}" for one, names in ENGINES.items())
            raise UserError(f"{path} chooses {shown}", f"known are: {known}")
    return group, choice


def _check_inclusions(included: Mapping[str, Defaults], folder: Path) -> None:
    """Raises UserError where a file includes itself, perhaps through others, or far too many."""
    counts: dict[str, int] = {}
    way: list[str] = []

    def count(name: str) -> int:
        if name in way:
            ring = " -> ".join([*way[way.index(name) :], name])
            raise UserError(
                f"{folder / name}.yaml includes itself: {ring}", "take it out of its defaults list"
            )
        if name not in counts:
            way.append(name)
            if len(way) > DEPTH:
                raise UserError(f"{folder / way[0]}.yaml includes files {DEPTH} deep", "include fewer")
            inner = (f"{group}/{choice}".lstrip("/") for group, choice in included[name])
            counts[name] = 1 + sum(count(one) for one in inner if one in included)
            way.pop()
            if counts[name] > INCLUDED:
                raise UserError(f"{folder / name}.yaml includes {counts[name]} files", "include fewer")
        return counts[name]

    for name in included:
        count(name)
