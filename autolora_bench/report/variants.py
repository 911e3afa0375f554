"""Tells apart several configurations of one method: which settings differ, and how a row's label says so."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from autolora_bench.report.entries import Entry

Variant = tuple[tuple[str, str], ...]
"""Settings and their values that tell one row of a method from its other rows; empty where there is one row."""

SHOWN = 3
"""More differing settings than this are named in a footnote, not in the row's label."""


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted setting -> its value as one would type it."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = _typed(value)
    return flat


def variants_of(entries: Sequence[Entry]) -> list[Variant]:
    """The variant of each entry.

    Settings count that differ between configurations of one (task, model, method). Two configurations of one task
    never share a variant, so that they are never averaged; settings that merely differ from task to task do not
    split a row.
    """
    configurations: dict[tuple[str, str], dict[str, dict[str, dict[str, str]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for entry in entries:
        by_id = configurations[entry.model, entry.method][entry.task]
        if entry.config_id not in by_id:
            by_id[entry.config_id] = flatten(entry.config)
    varying = {cell: _varying(tasks.values()) for cell, tasks in configurations.items()}
    return [_variant(entry, configurations, varying[entry.model, entry.method]) for entry in entries]


def _varying(tasks: Iterable[dict[str, dict[str, str]]]) -> list[str]:
    names: set[str] = set()
    for by_id in tasks:
        flats = list(by_id.values())
        for name in {name for flat in flats for name in flat} if len(flats) > 1 else ():
            if len({flat.get(name) for flat in flats}) > 1:
                names.add(name)
        if len({tuple(sorted(flat.items())) for flat in flats}) < len(flats):
            names.add("config_id")
    return sorted(names)


def _variant(entry: Entry, configurations: dict[Any, Any], names: list[str]) -> Variant:
    flat = configurations[entry.model, entry.method][entry.task][entry.config_id]
    values = {**flat, "config_id": entry.config_id}
    return tuple((name, values[name]) for name in names if name in values)


def settings(variant: Variant) -> str:
    """`search.estimator=released, seed=1`; the prefix `method.` is understood."""
    return ", ".join(f"{name.removeprefix('method.')}={value}" for name, value in variant)


def row_labels(method: str, variants: Sequence[Variant]) -> list[str]:
    """`autolora (search.estimator=released)`, or `autolora [A]` where a footnote has to say what A stands for."""
    if any(len(variant) > SHOWN for variant in variants):
        return [f"{method} [{_letters(index)}]" for index in range(len(variants))]
    return [f"{method} ({settings(variant)})" if variant else method for variant in variants]


def _letters(index: int) -> str:
    head, tail = divmod(index, 26)
    return (_letters(head - 1) if head else "") + chr(ord("A") + tail)


def variant_order(variant: Variant) -> tuple[tuple[str, float, str], ...]:
    """Sorting key: numbers by size, words by the alphabet."""
    return tuple((name, _number(value), value) for name, value in variant)


def _number(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _typed(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
