"""What of a configuration makes two runs the same: marks of fields, and the plain value that they leave.

A new setting is marked ADDED or `recorded_as`, so that the runs that were recorded before it keep their identity.
"""

import dataclasses
from collections.abc import Callable
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any

LOCATION = {"identity": False}
"""Metadata of fields that say where something lies on one machine: they are no part of a run's identity."""

LABEL = {"identity": False}
"""Metadata of fields that only tell a reader something: they are no part of a run's identity either."""

ADDED = {"identity_when_default": False}
"""Metadata of settings that came after runs had been recorded, and whose default is what was computed before.

They are part of a run's identity only where they differ from their default, so that older records keep theirs; their
default must therefore never change. Works at any depth: a nested dataclass is left out as a whole while all of it is as
its default, and inside it only what differs counts where its own fields are marked too.
"""

SHUFFLED = "_shuffled"
"""Ends the name of a task whose training labels are shuffled: it is another task, never a column of the first."""

LEAVES = (str, int, float, bool)
"""Types whose values are plain already; an enumeration's members are of others."""


def recorded_as(value: Any) -> dict[str, Any]:
    """Metadata of settings that came after runs had been recorded, and whose default is not what was computed before.

    They are part of a run's identity except where they are `value`, which is what older records were made with; this
    value must therefore never change, while the default may.
    """
    return {"identity_unless": value}


def identity(node: Any) -> Any:
    """The plain value of a configuration node without the fields that do not count.

    Left out are fields marked LOCATION or LABEL, those marked ADDED whose value is their default, and those marked
    `recorded_as` a value that is theirs.
    """
    if node is None or type(node) in LEAVES:
        return node
    if dataclasses.is_dataclass(node):
        found = {}
        for name, counts in _counted(node.__class__):
            value = getattr(node, name)
            if counts is None or counts(value):
                found[name] = identity(value)
        return found
    if isinstance(node, Enum):
        return node.name
    if isinstance(node, dict):
        return {str(key): identity(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [identity(value) for value in node]
    return node


def recorded_value(config: Any, node: Any, name: str) -> Any:
    """The value of a setting in what `identity` left of a configuration; one that it left out had its default.

    Args:
        config: the plain value of the configuration.
        node: a dataclass of the same classes, whatever its values.
        name: the setting's dotted name.

    Raises:
        KeyError: there is no such setting, or it is no part of a run's identity.
    """
    first, _, rest = name.partition(".")
    if isinstance(config, dict) and first in config:
        return recorded_value(config[first], getattr(node, first, None), rest) if rest else config[first]
    fields = dataclasses.fields(node) if dataclasses.is_dataclass(node) else ()
    field = next((field for field in fields if field.name == first), None)
    if field is None or not {"identity_unless", "identity_when_default"} & set(field.metadata):
        raise KeyError(name)
    value = field.metadata["identity_unless"] if "identity_unless" in field.metadata else _default(field)
    try:
        return attrgetter(rest)(value) if rest else value
    except AttributeError as error:
        raise KeyError(name) from error


@cache
def _counted(kind: Any) -> list[tuple[str, Callable[[Any], bool] | None]]:
    """The fields of a class that may count, each with what decides by its value; None where it always counts."""
    return [(f.name, _decides(f)) for f in dataclasses.fields(kind) if f.metadata.get("identity", True)]


def _decides(field: dataclasses.Field[Any]) -> Callable[[Any], bool] | None:
    if "identity_unless" in field.metadata:
        recorded = field.metadata["identity_unless"]
        return lambda value: bool(value != recorded)
    if field.metadata.get("identity_when_default", True):
        return None
    default = _default(field)
    return lambda value: bool(value != default)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
