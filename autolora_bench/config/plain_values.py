"""Configuration objects as plain values and back, for files: the same objects, without composing them again."""

import dataclasses
import types
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from autolora_bench.config.registry import methods
from autolora_bench.config.task import TASKS

CLASS = "class"


def to_plain(value: Any) -> Any:
    """Dictionaries, lists, numbers and texts; a configuration object says its class."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {CLASS: _name(type(value)), **fields}
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
        hints = get_type_hints(stated)
        return stated(
            **{f.name: from_plain(value[f.name], hints[f.name]) for f in dataclasses.fields(stated)}
        )
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint[value]
    if get_origin(hint) is dict:
        return {name: from_plain(one, get_args(hint)[1]) for name, one in value.items()}
    return [from_plain(one, get_args(hint)[0]) for one in value] if get_origin(hint) is list else value


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _class(name: str, hint: Any) -> type:
    """The class of that name: `hint` itself, or a kind of task or method."""
    kinds = (hint, *TASKS.values(), *(stated.config for stated in methods().values()))
    found: type = {_name(kind): kind for kind in kinds}[name]
    return found
