"""Every setting with its type, default, range and meaning, read off the schemas: `autolora-bench help train`."""

import ast
import dataclasses
import inspect
import re
import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen
from omegaconf import DictConfig, OmegaConf

from autolora_bench.config.ranges import OneOf

FAR = 100_000
"""A limit beyond it only keeps out what no computer can hold."""
KINDS = {int: "whole number", float: "number", str: "text", bool: "true|false"}


@dataclass(frozen=True)
class Setting:
    """One setting."""

    name: str
    """Dotted."""
    default: str
    """As one types it."""
    kind: str
    """Type and range, or the choices."""
    meaning: str
    """The docstring of its field, in one line; with it what each choice means."""


def settings_of(node: DictConfig, prefix: str) -> Iterator[Setting]:
    """The settings of a composed part of the configuration, in the order of its schema.

    Args:
        node: with a dataclass as its type.
        prefix: its dotted name; empty for all settings.
    """
    schema = OmegaConf.get_type(node)
    if schema is None or not dataclasses.is_dataclass(schema):
        return
    values = OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    assert isinstance(values, dict)
    for name, hint in get_type_hints(schema, include_extras=True).items():
        inner = node._get_node(name) if name in node else None
        dotted = f"{prefix}.{name}".lstrip(".")
        if (
            isinstance(inner, DictConfig)
            and inner._content
            and dataclasses.is_dataclass(OmegaConf.get_type(inner))
        ):
            yield from settings_of(inner, dotted)
        else:
            yield Setting(dotted, typed(values.get(name)), kind_of(hint), _meaning(schema, name, hint))


def kind_of(hint: Any) -> str:
    """A type with its range, in words."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [one for one in get_args(hint) if one is not types.NoneType]
        return f"{kind_of(inner[0])}, or null"
    few = _few(hint)
    if few:
        return "|".join(few)
    if get_origin(hint) is Annotated:
        inner, *stated = get_args(hint)
        if get_origin(inner) is list:
            return f"list {_bounds(stated) or 'of'} {_plural(get_args(inner)[0])}"
        return f"{kind_of(inner)} {_bounds(stated)}".strip()
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "|".join(member.name for member in hint)
    if get_origin(hint) is list:
        return f"list of {_plural(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "mapping of names"
    if dataclasses.is_dataclass(hint):
        return "mapping"
    return KINDS.get(hint, "any value")


def choices_of(hint: Any) -> list[str]:
    """The values that can be completed: an enumeration's, or true and false."""
    few = _few(hint)
    if few:
        return few
    for one in (hint, *get_args(hint)):
        if one is bool:
            return ["true", "false"]
        if isinstance(one, type) and issubclass(one, Enum):
            return [member.name for member in one]
    return []


def _few(hint: Any) -> list[str]:
    """The few values that a field states one by one; empty where it does not."""
    return next((one.words() for one in get_args(hint) if isinstance(one, OneOf)), [])


def typed(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, list):
        return f"[{','.join(map(typed, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{typed(one)}' for name, one in value.items())}}}"
    return "null" if value is None else str(value)


def _plural(hint: Any) -> str:
    """What the entries of a list are, in words."""
    inner, *stated = get_args(hint) if get_origin(hint) is Annotated else [hint]
    bounds = _bounds(stated)
    return f"{KINDS[inner]}s{f', each {bounds}' if bounds else ''}" if inner in KINDS else kind_of(hint)


def _bounds(stated: Sequence[Any]) -> str:
    """The limits that a user may meet, in words."""
    limits = [one for each in stated for one in (each if isinstance(each, GroupedMetadata) else [each])]
    least: Any = next((one.ge for one in limits if isinstance(one, Ge) and one.ge > -FAR), None)  # type: ignore[operator]
    most: Any = next((one.le for one in limits if isinstance(one, Le) and one.le < FAR), None)  # type: ignore[operator]
    found = []
    few = next((one.min_length for one in limits if isinstance(one, MinLen)), 0)
    many = next((one.max_length for one in limits if isinstance(one, MaxLen)), None)
    if many is not None:
        found.append(f"of {many}" if few == many else f"of at most {many}")
    elif few > 1:
        found.append(f"of {few} or more")
    if least is not None and most is not None:
        found.append(f"from {least:,} to {most:,}")
    elif least is not None:
        found.append(f"{least:,} or more")
    elif most is not None:
        found.append(f"up to {most:,}")
    for one in limits:
        match one:
            case Gt(gt):
                found.append(f"above {gt:,}")
            case Lt(lt) if lt < FAR:
                found.append(f"below {lt:,}")
    return ", ".join(found)


def _meaning(schema: type, name: str, hint: Any) -> str:
    """The docstring of a field, or where it has none that of its enumeration; then what each member means: its value,
    or its line `member: meaning` in the enumeration's docstring."""
    said = next((docs[name] for owner in schema.__mro__ if name in (docs := _docstrings(owner))), "")
    kinds = [one for one in (hint, *get_args(hint)) if isinstance(one, type) and issubclass(one, Enum)]
    if not kinds:
        return said
    [kind] = kinds
    head, *rest = (inspect.getdoc(kind) or "").split("\n\n")
    meanings = {one.name: str(one.value) for one in kind if one.value != one.name}
    pairs = re.findall(r"^(\w+): (.+?)(?=^\w+: |\Z)", "\n".join(rest), re.MULTILINE | re.DOTALL)
    meanings |= {one: " ".join(what.split()).rstrip(".") for one, what in pairs}
    listed = "; ".join(f"{one}: {what}" for one, what in meanings.items())
    return " ".join(filter(None, [said or " ".join(head.split()), f"{listed}." if listed else ""]))


@cache
def _docstrings(schema: type) -> dict[str, str]:
    """Field -> the text below it in the source, in one line."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(schema)))
    except (OSError, TypeError, SyntaxError):
        return {}
    [body] = [node.body for node in tree.body if isinstance(node, ast.ClassDef)] or [[]]
    found = {}
    for field, below in pairwise(body):
        said = below.value if isinstance(below, ast.Expr) else None
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(said, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(said.value).split())
    return found
