"""Reads parquet files as the hub's data sets are stored."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autolora_bench.errors import UserError


def read_parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    """These columns of a file.

    Raises:
        UserError: the file is no parquet file or lacks a column.
    """
    try:
        present = pq.read_schema(path).names
        missing = [name for name in columns if name not in present]
        if missing:
            raise UserError(
                f"{path}: there is no column {missing[0]!r} among {', '.join(present)}",
                "correct hub.columns in the task's YAML",
            )
        return pq.read_table(path, columns=list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is no readable parquet file: {reason}", "download it again") from error


def label_names(table: pa.Table, column: str) -> list[str]:
    """What a column's indices stand for, where the file says so itself (a ClassLabel feature); else empty."""
    try:
        recorded: Any = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"][column]
    except (KeyError, ValueError):
        return []
    while isinstance(recorded, dict) and "names" not in recorded:
        recorded = recorded.get("feature")
    return list(recorded["names"]) if isinstance(recorded, dict) else []
