"""Bounds that settings of several nodes share. A setting that is None asks for nothing and passes all of them."""

from typing import Any

from autolora_bench.errors import UserError


def require(holds: bool, what: str, mend: str) -> None:
    """Raises UserError unless `holds`."""
    if not holds:
        raise UserError(what, mend)


def at_least(node: Any, name: str, least: int, path: str = "method") -> None:
    """Raises UserError below `least`."""
    value = getattr(node, name)
    require(value is None or value >= least, f"{path}.{name}={value}", f"say {least} or more")


def positive(node: Any, name: str, path: str = "method") -> None:
    """Raises UserError at 0 or below."""
    value = getattr(node, name)
    require(value is None or value > 0, f"{path}.{name}={value}", "say a number above 0")


def share(node: Any, name: str, path: str = "method") -> None:
    """Raises UserError below 0, and at 1 or above."""
    value = getattr(node, name)
    require(0 <= value < 1, f"{path}.{name}={value}", "say a share from 0 to below 1")


def seed(value: int | None, name: str) -> None:
    """Raises UserError for what not every library takes as a seed."""
    require(value is None or 0 <= value < 2**32, f"{name}={value}", "say a seed from 0 to 4294967295")
