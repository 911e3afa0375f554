"""What a single setting may be, stated at its field: `threads: Annotated[int, Interval(ge=1, le=1024)]`.

The constraints are those of the library annotated-types, which OmegaConf, pydantic and others read too. pydantic's own
check of them would cost every command a tenth of a second of start-up (measured), for the same refusals. What several
settings may be together is for config.validate.
"""

import dataclasses
import math
import types
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MaxLen, MinLen
from omegaconf import MISSING

from autolora_bench.errors import UserError


@dataclasses.dataclass(frozen=True)
class Distinct:
    """A list that names nothing twice."""


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A value that is one of a few, of different types."""

    values: tuple[bool | str, ...]

    def words(self) -> list[str]:
        """As one types them."""
        return [value if isinstance(value, str) else str(value).lower() for value in self.values]


BOUNDS = ("ge", "gt", "le", "lt")
AUTO = "auto"
Way = Annotated[bool | str, OneOf((AUTO, True, False))]
"""Whether to compute in a certain way; AUTO decides when the run starts, and its record says what ran."""
Size = Annotated[int, Interval(ge=1, le=1_000_000)]
"""Examples, tokens or units at once."""
Steps = Annotated[int, Interval(ge=1, le=1_000_000_000)]
Rank = Annotated[int, Interval(ge=1, le=65_536)]
LayerRank = Annotated[int, Interval(ge=0, le=65_536)]
"""A rank, or 0 where the layer is dropped."""
Threads = Annotated[int, Interval(ge=1, le=1024)]
"""More end the process: the operating system has no more to give."""
Positive = Annotated[float, Interval(gt=0, le=1e36)]
Amount = Annotated[float, Interval(ge=0, le=1_000_000)]
Number = Annotated[float, Interval(ge=-1_000_000, le=1_000_000)]
Share = Annotated[float, Interval(ge=0, lt=1)]
Between = Annotated[float, Interval(gt=0, lt=1)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]
"""What every library takes as a seed."""
Text = Annotated[str, MinLen(1)]
Names = Annotated[list[str], Distinct()]
SomeNames = Annotated[list[str], MinLen(1), Distinct()]


def check_ranges(node: Any, path: str = "", last: str | None = None) -> None:
    """Check every setting of a configuration object, and of those inside it, against what its field states.

    What is None or not set asks for nothing and passes. Numbers are finite throughout: a record is JSON, which has no
    others.

    Args:
        node: the object.
        path: its dotted name.
        last: a setting that is checked after the others, as what is wrong in it may come from them.

    Raises:
        UserError: at the first setting that cannot be, with its dotted name and what it may be.
    """
    prefix = f"{path}." if path else ""
    for name, stated in _settings(node.__class__, last):
        value = getattr(node, name)
        if value is not None:
            _check(f"{prefix}{name}", value, stated)


def without_range(kind: Any, prefix: str = "") -> list[str]:
    """Dotted names of the numbers among a configuration class's settings whose field states no two bounds."""
    return [name for field, hint in _hints(kind).items() for name in _unbounded(hint, f"{prefix}{field}")]


def _unbounded(hint: Any, name: str) -> Iterator[str]:
    if dataclasses.is_dataclass(hint):
        yield from without_range(hint, f"{name}.")
        return
    stated = [*_flat(list(get_args(hint)[1:]))] if get_origin(hint) is Annotated else []
    base = get_args(hint)[0] if stated else hint
    if base in (int, float):
        low = any(isinstance(one, Ge | Gt) for one in stated)
        if not (low and any(isinstance(one, Le | Lt) for one in stated)):
            yield name
    for inner in get_args(base):
        yield from _unbounded(inner, name)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


@dataclasses.dataclass(frozen=True)
class _Stated:
    """What a field's hint says of a value that is there."""

    constraints: tuple[Any, ...]
    inner: tuple[Any, ...]
    """The hints of what it holds."""
    in_range: Callable[[Any], bool] | None
    """Whether a number is all right, where the constraints are two bounds: a sweep asks a hundred thousand times."""


@cache
def _settings(kind: type, last: str | None) -> list[tuple[str, _Stated]]:
    """Each setting of a configuration class and what it may be."""
    hints = sorted(_hints(kind).items(), key=lambda item: item[0] == last)
    return [(name, _stated(hint)) for name, hint in hints]


def _check(name: str, value: Any, stated: _Stated) -> None:
    """Of a value that is there: its own constraints, then those of what it holds."""
    if type(value) in (int, float) and stated.in_range is not None and stated.in_range(value):
        return
    if isinstance(value, str):
        if value == MISSING:
            return
        if "\0" in value:
            raise UserError(f"{name} holds a null byte", "say it without")
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}={value} is no finite number", "say a finite one")
    if stated.constraints:
        _check_constraints(name, value, stated.constraints)
    if isinstance(value, dict):
        for key, one in value.items():
            if one is not None:
                _check(f"{name}.{key}", one, _stated(stated.inner[1]))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            if one is not None:
                _check(f"{name}[{place}]", one, _stated(stated.inner[0]))
    elif not isinstance(value, str | int | float | Enum) and dataclasses.is_dataclass(value):
        check_ranges(value, name)


@cache
def _stated(hint: Any) -> _Stated:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(one for one in get_args(hint) if one is not types.NoneType)
    said: list[Any] = []
    if get_origin(hint) is Annotated:
        hint, *said = get_args(hint)
    constraints = tuple(_flat(said))
    return _Stated(constraints, get_args(hint) or (Any, Any), _range(constraints))


def _range(constraints: tuple[Any, ...]) -> Callable[[Any], bool] | None:
    """None where a bound is not finite: between finite ones lies no number that is not."""
    bounds = [getattr(one, name) for one in constraints for name in BOUNDS if hasattr(one, name)]
    if not all(isinstance(bound, int | float) and math.isfinite(bound) for bound in bounds):
        return None
    match constraints:
        case (Ge(low), Le(high)):
            return lambda value: low <= value <= high
        case (Gt(low), Le(high)):
            return lambda value: low < value <= high
        case (Ge(low), Lt(high)):
            return lambda value: low <= value < high
        case (Gt(low), Lt(high)):
            return lambda value: low < value < high
    return None


def _flat(stated: list[Any]) -> Iterator[Any]:
    """The constraints, an interval as its bounds."""
    for one in stated:
        yield from one if isinstance(one, GroupedMetadata) else (one,)


def _check_constraints(name: str, value: Any, constraints: tuple[Any, ...]) -> None:
    holds = True
    for constraint in constraints:
        match constraint:
            case Ge(ge):
                holds = holds and value >= ge
            case Gt(gt):
                holds = holds and value > gt
            case Le(le):
                holds = holds and value <= le
            case Lt(lt):
                holds = holds and value < lt
            case MinLen(least) if len(value) < least:
                what = f"{name} is empty" if not value else f"{name}={value} is too short"
                raise UserError(
                    what, f"name {least} or more" if isinstance(value, list) else "give it a value"
                )
            case MaxLen(most) if len(value) > most:
                raise UserError(f"{name}={value} is too long", f"name {most}")
            case OneOf(values) if value not in values:
                *but_last, last = constraint.words()
                raise UserError(f"{name}={value}", f"say {', '.join(but_last)} or {last}")
            case Distinct():
                double = next((one for one in value if value.count(one) > 1), None)
                if double is not None:
                    raise UserError(f"{name}={value} names {double} twice", "name it once")
    if not holds:
        raise UserError(f"{name}={value}", f"say {', '.join(filter(None, map(_bound, constraints)))}")


def _bound(constraint: Any) -> str | None:
    match constraint:
        case Ge(ge):
            return f"{ge:,} or more"
        case Gt(gt):
            return f"a number above {gt:,}"
        case Le(le):
            return f"at most {le:,}"
        case Lt(lt):
            return f"below {lt:,}"
    return None
