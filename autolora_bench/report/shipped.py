"""What the files of conf/, and of the user's own folder, say of a method, model or task that a record names."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autolora_bench.config.choices import LOADER, schema_of
from autolora_bench.config.identity import identity
from autolora_bench.config.peft_method import NAME as PEFT
from autolora_bench.config.registry import MethodKind, methods, own_folders
from autolora_bench.paths import conf_dir

NAME = re.compile(r"[\w-]{1,100}")
SELF = "_self_"
"""Stands for a file's own values in its defaults list."""
OPEN = "???"
"""Stands for a value that a file leaves to each run, as OmegaConf has it."""
FILLED_IN = ("cell", "corrections")
"""Settings that the program fills in: which run a control follows, and by which rules a run was made."""


@cache
def shipped_kind(method: str) -> MethodKind | None:
    """The kind that a method of conf/method is built on."""
    return _kind(method, (conf_dir(),))


def _kind(method: str, folders: tuple[Path, ...]) -> MethodKind | None:
    if method.startswith(f"{PEFT}_"):
        return methods()[PEFT]
    return methods().get(schema_of("method", method, list(folders)) or "")


@cache
def label(group: str, name: str, key: str) -> str | None:
    """The value of `key` in conf/<group>/<name>.yaml; None where there is no such file or key."""
    values = _own_values(_configuration(group, name, conf_dir()) or {}, group)
    value = values.get(key)
    return value if isinstance(value, str) and value else None


@cache
def _configuration(group: str, name: str, folder: Path) -> dict[str, Any] | None:
    path = folder / group / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        return None
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return values if isinstance(values, dict) else None


def _own_values(values: dict[str, Any], group: str) -> dict[str, Any]:
    """What a file says of its group: all of it, or its node of that name where it is about others too."""
    nested = values.get(group)
    return nested if isinstance(nested, dict) else values


def shipped_settings(method: str) -> dict[str, Any] | None:
    """A method's settings where nobody says another, as a record has them (`config.identity`): what its file says, and
    those that it starts from, and the defaults of its kind. `OPEN` is what each run decides.

    None where they are not known: a method of somebody's own, whose folder was not named, or is not to be read.
    """
    folders = (*own_folders, conf_dir())
    kind = _kind(method, folders)
    if kind is None:
        return None
    try:
        node = OmegaConf.merge(OmegaConf.structured(kind.config), *_layers(method, folders))
    except (OmegaConfBaseException, LookupError):
        return None
    assert isinstance(node, DictConfig)
    node.code = kind.code
    found: dict[str, Any] = identity(_settings(node))
    return found | dict.fromkeys(FILLED_IN, OPEN)


def _layers(method: str, folders: tuple[Path, ...], above: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """What the files of a method say, later ones over earlier ones. Raises LookupError where one says it elsewhere, or
    extends one of those `above` it."""
    if method in above:
        raise LookupError(f"{method} extends itself")
    values = next((one for place in folders if (one := _configuration("method", method, place))), {})
    rest = {name: value for name, value in values.items() if name != "defaults"}
    entries = values.get("defaults") or []
    for entry in [*entries, *([] if SELF in entries else [SELF])]:
        base = entry.partition("@")[0] if isinstance(entry, str) else None
        if base is None:
            raise LookupError(f"{method} says {entry}")
        if base == SELF:
            yield _own_values(rest, "method")
        elif not base.startswith("/"):
            yield from _layers(base, folders, (*above, method))


def _settings(node: DictConfig) -> Any:
    """The node as its dataclass, `OPEN` where a value is missing or follows another setting."""
    kind = OmegaConf.get_type(node)
    assert kind is not None
    found = object.__new__(kind)
    for name in map(str, node):
        is_open = OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name)
        value = OPEN if is_open else node[name]
        if isinstance(value, DictConfig) and OmegaConf.get_type(value) is not dict:
            value = _settings(value)
        setattr(found, name, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
    return found
