"""What a record states, and what it does not."""

from typing import Any

from autolora_bench.record import RunRecord


def setting(record: RunRecord, node: str, name: str) -> Any:
    """A setting of the record's configuration, None where there is none."""
    values = record.config.get(node)
    return values.get(name) if isinstance(values, dict) else None


def stated(value: Any) -> str:
    """A value in words."""
    return "not stated" if value is None else str(value)
