"""What the columns of a table hold: read once, and kept by the content of the files, so that a plan costs no import."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolora_bench.checksums import sha256
from autolora_bench.json_cache import JsonCache
from autolora_bench.tables.read import builder_of, opened

if TYPE_CHECKING:
    import pyarrow as pa

MOST_VALUES = 1000
"""A column with more distinct values is none of classes, unless the user or the file says that it is."""
BATCH = 10_000
KEPT = JsonCache("tables", most=200)
VERSION = 4
"""Counts up whenever a profile of the same file would be another."""


class Content(StrEnum):
    """What the cells of a column are."""

    text = "text"
    whole = "whole numbers"
    number = "numbers"
    boolean = "true or false"
    texts = "lists of texts"
    wholes = "lists of whole numbers"
    other = "something else"


@dataclass
class Column:
    """One column over all rows."""

    name: str
    content: Content
    rows: int = 0
    missing: int = 0
    """Cells without a value; of text those that hold blanks alone."""
    words: float = 0.0
    """Mean number of words of a text."""
    values: list[str] | None = field(default_factory=list)
    """Distinct values as `spelled` has them, in order of their first appearance; of lists those of their entries; None
    where they are more than MOST_VALUES (`all_values` has them), or of a type that is not read."""
    minimum: float = math.inf
    maximum: float = -math.inf
    ascending: bool = True
    """Whether every number is greater than the one before, as in an index."""
    names: list[str] | None = None
    """What whole numbers stand for, where the file says so itself (a ClassLabel feature)."""

    @property
    def single(self) -> bool:
        """Whether every cell is one text, number or truth value."""
        return self.content in (Content.text, Content.whole, Content.number, Content.boolean)

    @property
    def numeric(self) -> bool:
        """Whether every cell is a number, or the spelling of one."""
        return self.content in (Content.whole, Content.number)


def profile(paths: Sequence[Path]) -> list[Column]:
    """The columns of the table in these files, in their order.

    Raises:
        UserError: as `read.opened`.
    """
    key = json.dumps([VERSION, _digests(paths)])
    kept = KEPT.read(key, lambda columns: [_typed(Column(**plain)) for plain in columns])
    if kept is not None:
        return kept
    with opened(paths) as dataset:
        columns = [Column(name, Content.other) for name in dataset.column_names]
        names = {name: class_names(feature) for name, feature in dataset.features.items()}
        for column in columns:
            column.names = names[column.name]
        seen: dict[str, dict[str, None]] = {column.name: {} for column in columns}
        for batch in dataset.with_format("arrow").iter(BATCH):
            for column in columns:
                _add(column, batch[column.name], seen[column.name])
    for column in columns:
        column.values = list(seen[column.name]) if column.values is not None else None
    KEPT.write(key, [asdict(column) for column in columns])
    return columns


def all_values(paths: Sequence[Path], name: str) -> list[str]:
    """A column's distinct values as `spelled` has them, in order of their first appearance, however many they are.

    Raises:
        UserError: as `read.opened`.
    """
    key = json.dumps([VERSION, _digests(paths), name])
    kept = KEPT.read(key, lambda values: [str(value) for value in values])
    if kept is not None:
        return kept
    seen: dict[str, None] = {}
    with opened(paths) as dataset:
        for batch in dataset.select_columns(name).with_format("arrow").iter(BATCH):
            cells = batch[name].to_pylist()
            seen.update(dict.fromkeys(spelled(v) for v in cells if v is not None and not _is_blank(v)))
    KEPT.write(key, list(seen))
    return list(seen)


def _digests(paths: Sequence[Path]) -> list[str]:
    return [f"{builder_of(path)} {path.suffix.lower()} {sha256(path)}" for path in paths]


def spelled(value: Any) -> str:
    """A cell as the name of a class: true and false in small letters, whole numbers without a point, texts without
    blanks around them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def as_number(value: Any) -> float | None:
    """The number that a cell holds or spells; None where it is none or not finite."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # float() takes 2023_01
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def spells_number(text: str) -> bool:
    """Whether a text is the spelling of a number, nan and inf among them."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # float() takes 1_0


def _typed(column: Column) -> Column:
    column.content = Content(column.content)
    return column


def class_names(feature: Any) -> list[str] | None:
    """What the whole numbers of a column of this feature stand for, where it says so."""
    inner = getattr(feature, "feature", feature)  # of a list
    names = getattr(inner, "names", None)
    return list(names) if names else None


def _add(column: Column, cells: "pa.ChunkedArray", seen: dict[str, None]) -> None:
    """Count in another batch of rows."""
    values = cells.to_pylist()
    known = column.rows > column.missing
    column.rows += len(values)
    present = [value for value in values if value is not None and not _is_blank(value)]
    column.missing += len(values) - len(present)
    if not present:
        return
    found = _content(present)
    column.content = _joined(column.content, found) if known else found
    if column.content in (Content.texts, Content.wholes):
        _see(column, seen, (entry for value in present for entry in value if entry is not None))
        return
    if column.content is Content.other:
        column.values = None
        return
    _see(column, seen, present)
    if column.content is Content.text:
        count = column.rows - column.missing
        before = column.words * (count - len(present))
        column.words = (before + sum(len(str(v).split()) for v in present)) / count
    numbers = [n for n in map(as_number, present) if n is not None]
    if column.numeric and numbers:
        column.ascending = (
            column.ascending and column.maximum < numbers[0] and all(a < b for a, b in pairwise(numbers))
        )
        column.minimum = min(column.minimum, *numbers)
        column.maximum = max(column.maximum, *numbers)


def _is_blank(value: Any) -> bool:
    """Text of blanks alone, or the NaN by which pandas marks a missing number."""
    return not value.strip() if isinstance(value, str) else isinstance(value, float) and math.isnan(value)


def _joined(before: Content, found: Content) -> Content:
    """What a column holds whose batches hold this and that: whole numbers are numbers too, and all are texts."""
    if before is found:
        return found
    if {before, found} == {Content.whole, Content.number}:
        return Content.number
    return Content.text if {before, found} <= {Content.text, Content.whole, Content.number} else Content.other


def _see(column: Column, seen: dict[str, None], values: Iterable[Any]) -> None:
    if column.values is None:
        return
    seen.update(dict.fromkeys(map(spelled, values)))
    if len(seen) > MOST_VALUES:
        column.values = None


def _content(values: Sequence[Any]) -> Content:
    first = values[0]
    if isinstance(first, bool):
        return Content.boolean
    if isinstance(first, list):
        entries = [entry for value in values for entry in value]
        if all(isinstance(entry, str) for entry in entries):
            return Content.texts
        whole = all(isinstance(entry, int) and not isinstance(entry, bool) for entry in entries)
        return Content.wholes if whole else Content.other
    if not isinstance(first, str | int | float):
        return Content.other
    numbers = [as_number(value) for value in values]
    if any(number is None for number in numbers):
        return Content.text if isinstance(first, str) else Content.other
    whole = all(float(number).is_integer() for number in numbers if number is not None)
    spells = isinstance(first, str)
    if whole and (not spells or all(str(value).strip().lstrip("+-").isdigit() for value in values)):
        return Content.whole
    return Content.number
