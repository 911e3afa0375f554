"""What of a configuration makes two runs the same: marks of fields, and the plain value that they leave.

A new setting is marked ADDED or `recorded_as`, so that the runs that were recorded before it keep their identity.
"""

import dataclasses
from enum import Enum
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
    if dataclasses.is_dataclass(node):
        fields = [f for f in dataclasses.fields(node) if _counts(f, getattr(node, f.name))]
        return {f.name: identity(getattr(node, f.name)) for f in fields}
    if isinstance(node, Enum):
        return node.name
    if isinstance(node, dict):
        return {str(key): identity(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [identity(value) for value in node]
    return node


def _counts(field: dataclasses.Field[Any], value: Any) -> bool:
    if "identity_unless" in field.metadata:
        return bool(value != field.metadata["identity_unless"])
    if field.metadata.get("identity_when_default", True):
        return bool(field.metadata.get("identity", True))
    make = field.default_factory
    default = field.default if make is dataclasses.MISSING else make()
    return bool(value != default)
