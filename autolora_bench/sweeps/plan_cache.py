"""Compositions kept in the cache: a table's hundred runs take Hydra seconds, and are mostly the same as last time.

Configuration objects are written as plain values, and read back as the same objects without composing them again.
"""

import dataclasses
import hashlib
import re
import types
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import hydra
import omegaconf

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.identity import LEAVES
from autolora_bench.config.own_folder import yaml_files
from autolora_bench.config.registry import methods
from autolora_bench.config.task import TASKS, AnyTask
from autolora_bench.json_cache import JsonCache
from autolora_bench.user_code import FOLDERS

Cell = tuple[tuple[str, ...], ExperimentConfig]
"""Overrides and what they compose to, not checked yet."""

KEPT = JsonCache("plans", most=30)
RESOLVER = re.compile(rb"\$\{[^}]*:")
"""An interpolation that asks something outside the configuration, such as the environment or the clock."""
LIBRARIES = (hydra, omegaconf)


class PlanCache:
    """The compositions of one request, valid while no configuration file, schema or library has changed.

    Args:
        words: everything of the request that decides what is composed.
        folders: configuration folders; methods and metrics of the user's own are theirs.
    """

    def __init__(self, words: Sequence[str], folders: Sequence[Path]) -> None:
        files = [path for folder in folders for path in yaml_files(folder)]
        package = Path(__file__).parent.parent
        code = [path for room in ("config", "sweeps") for path in sorted((package / room).glob("*.py"))]
        own = [folder / name for folder in folders for name in FOLDERS]
        code += [path for place in own for path in sorted(place.rglob("*.py"))]
        texts = [path.read_bytes() for path in files]
        versions = [one.__version__ for one in LIBRARIES]
        said = [part.encode() for part in (*words, *map(str, [*files, *code]), *versions)]
        elsewhere = any(word.lstrip("+").startswith("hydra.searchpath") for word in words)
        self.safe = not elsewhere and not any(RESOLVER.search(text) for text in [*texts, *said])
        """Whether what is composed depends on these files and words alone."""
        digest = hashlib.sha256()
        for part in [*texts, *(path.read_bytes() for path in code), *said]:
            digest.update(len(part).to_bytes(8, "big") + part)
        self.key = digest.hexdigest()

    def read(self) -> list[Cell] | None:
        """The compositions, if they are kept and readable."""
        return KEPT.read(self.key, _cells) if self.safe else None

    def write(self, cells: Sequence[Cell]) -> None:
        """Keep them; of those that differ in their seed alone, the first and the others' seeds."""
        if not self.safe or any(_reads_data(experiment) for _, experiment in cells):
            return
        kept: list[tuple[tuple[str, ...], int, Any]] = []
        first: dict[tuple[str, ...], int] = {}
        for place, (words, experiment) in enumerate(cells):
            like = first.setdefault(tuple(word for word in words if not word.startswith("seed=")), place)
            same = like < place and replace(experiment, seed=cells[like][1].seed) == cells[like][1]
            kept.append((words, experiment.seed, like if same else to_plain(experiment)))
        KEPT.write(self.key, kept)


def _reads_data(experiment: ExperimentConfig) -> bool:
    """Whether a table of the user's own was read to compose it: a control names the run that it is compared with by
    what that run's data are (`config.ranks.name_reference`)."""
    return isinstance(experiment.task, AnyTask) and getattr(experiment.method, "reference", None) is not None


def _cells(kept: Any) -> list[Cell]:
    found: list[Cell] = []
    for words, seed, plain in kept:
        if isinstance(plain, int):
            plain = {**kept[plain][2], "seed": seed}
        found.append((tuple(words), from_plain(plain, ExperimentConfig)))
    return found


CLASS = "class"


def to_plain(value: Any) -> Any:
    """Dictionaries, lists, numbers and texts; a configuration object says its class."""
    if value is None or type(value) in LEAVES:
        return value
    if dataclasses.is_dataclass(value):
        fields = {name: to_plain(getattr(value, name)) for name, _ in _fields(value.__class__)}
        return {CLASS: _class_name(type(value)), **fields}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {name: to_plain(one) for name, one in value.items()}
    return [to_plain(one) for one in value] if isinstance(value, list | tuple) else value


def from_plain(value: Any, hint: Any) -> Any:
    """The object of type `hint` (or of a subclass in the table) that `to_plain` took apart.

    Raises:
        KeyError, TypeError, ValueError: not what `to_plain` makes.
    """
    read = _reader(hint)
    return value if read is None else read(value)


Reader = Callable[[Any], Any]


@cache
def _reader(hint: Any) -> Reader | None:
    """What makes a value of that type out of a plain one, found out once; None where the plain one is it."""
    if get_origin(hint) in (Union, types.UnionType):
        first, *others = [one for one in get_args(hint) if one is not types.NoneType]
        read = None if others else _reader(first)
        return None if read is None else lambda value: value if value is None else read(value)
    if hint is Any:
        return deepcopy  # what seeds share in the file, they do not share here
    if dataclasses.is_dataclass(hint):
        return lambda value: _object(value, hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda value: hint[value]
    if get_origin(hint) is dict:
        of_value = _reader(get_args(hint)[1])
        if of_value is None:
            return dict
        return lambda value: {name: of_value(one) for name, one in value.items()}
    if get_origin(hint) is list:
        of_entry = _reader(get_args(hint)[0])
        if of_entry is None:
            return list
        return lambda value: [of_entry(one) for one in value]
    return None


def _object(value: Any, hint: Any) -> Any:
    stated = _class(value[CLASS], hint)
    return stated(
        **{name: value[name] if read is None else read(value[name]) for name, read in _fields(stated)}
    )


@cache
def _fields(kind: Any) -> list[tuple[str, Reader | None]]:
    """The fields of a class, each with what reads it."""
    hints = get_type_hints(kind)
    return [(field.name, _reader(hints[field.name])) for field in dataclasses.fields(kind)]


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _class(name: str, hint: Any) -> Any:
    """The class of that name: `hint` itself, or a kind of task or method."""
    if name == _class_name(hint):
        return hint
    for kind in (*TASKS.values(), *(stated.config for stated in methods().values())):
        if _class_name(kind) == name:
            return kind
    raise KeyError(name)
