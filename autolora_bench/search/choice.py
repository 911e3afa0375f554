"""A name out of a closed list, with an error that shows the list."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from autolora_bench.errors import UserError

Choice = TypeVar("Choice", bound=StrEnum)


def choose(kind: type[Choice], name: str, what: str) -> Choice:
    """The member of `kind` with this value; raises UserError, calling it a `what`, if there is none."""
    try:
        return kind(name)
    except ValueError:
        raise UserError(f"unknown {what} {name!r}", f"choose one of {', '.join(kind)}") from None
