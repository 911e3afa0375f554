"""Compositions kept in the cache: a table's hundred runs take Hydra seconds, and are mostly the same as last time.

Configuration objects are written as plain values, and read back as the same objects without composing them again.
"""

import dataclasses
import hashlib
import re
import types
from collections.abc import Sequence
from enum import Enum
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.registry import methods
from autolora_bench.config.task import TASKS
from autolora_bench.json_cache import JsonCache
from autolora_bench.user_code import FOLDERS

Cell = tuple[tuple[str, ...], ExperimentConfig]
"""Overrides and what they compose to, not checked yet."""

KEPT = JsonCache("plans", most=30)
RESOLVER = re.compile(rb"\$\{[^}]*:")
"""An interpolation that asks something outside the configuration, such as the environment or the clock."""
LIBRARIES = ("hydra-core", "omegaconf")


class PlanCache:
    """The compositions of one request, valid while no configuration file, schema or library has changed.

    Args:
        words: everything of the request that decides what is composed.
        folders: configuration folders; methods and metrics of the user's own are theirs.
    """

    def __init__(self, words: Sequence[str], folders: Sequence[Path]) -> None:
        files = [path for folder in folders for path in sorted(folder.rglob("*.yaml"))]
        package = Path(__file__).parent
        code = [package / "sweeps.py", package / "plan_cache.py", *sorted((package / "config").glob("*.py"))]
        own = [folder / name for folder in folders for name in FOLDERS]
        code += [path for place in own for path in sorted(place.glob("*.py"))]
        texts = [path.read_bytes() for path in files]
        said = [part.encode() for part in (*words, *map(str, files), *map(_version, LIBRARIES))]
        self.safe = not any(RESOLVER.search(text) for text in [*texts, *said])
        """Whether what is composed depends on these files and words alone."""
        digest = hashlib.sha256()
        for part in [*texts, *(path.read_bytes() for path in code), *said]:
            digest.update(len(part).to_bytes(8, "big") + part)
        self.key = digest.hexdigest()

    def read(self) -> list[Cell] | None:
        """The compositions, if they are kept and readable."""
        return KEPT.read(self.key, _cells) if self.safe else None

    def write(self, cells: Sequence[Cell]) -> None:
        """Keep them."""
        if self.safe:
            KEPT.write(self.key, [(words, to_plain(cell)) for words, cell in cells])


def _cells(kept: Any) -> list[Cell]:
    return [(tuple(words), from_plain(plain, ExperimentConfig)) for words, plain in kept]


def _version(library: str) -> str:
    return f"{library} {metadata.version(library)}"


CLASS = "class"


def to_plain(value: Any) -> Any:
    """Dictionaries, lists, numbers and texts; a configuration object says its class."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
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
    if get_origin(hint) in (Union, types.UnionType):
        first, *others = [one for one in get_args(hint) if one is not types.NoneType]
        return value if value is None or others else from_plain(value, first)
    if dataclasses.is_dataclass(hint):
        stated: Any = _class(value[CLASS], hint)
        hints = _hints(stated)
        return stated(
            **{f.name: from_plain(value[f.name], hints[f.name]) for f in dataclasses.fields(stated)}
        )
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint[value]
    if get_origin(hint) is dict:
        return {name: from_plain(one, get_args(hint)[1]) for name, one in value.items()}
    return [from_plain(one, get_args(hint)[0]) for one in value] if get_origin(hint) is list else value


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


_hints = cache(get_type_hints)


def _class(name: str, hint: Any) -> Any:
    """The class of that name: `hint` itself, or a kind of task or method."""
    if name == _class_name(hint):
        return hint
    kinds = (*TASKS.values(), *(stated.config for stated in methods().values()))
    return {_class_name(kind): kind for kind in kinds}[name]
