"""Rows of JSON files, cell by cell as they stand.

Readers that infer types change texts without a word: one that looks like a date becomes a date, and where a column
holds numbers too, a text in quotation marks loses them. Here a text stays the text that it is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolora_bench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

BATCH = 10_000
WIDEST = 2**63
"""Whole numbers from here on are kept as texts: Arrow has no type for them."""


def json_dataset(paths: Sequence[Path], folder: str) -> "Dataset":
    """The rows of the files in their order, written into `folder` and memory-mapped from there.

    A file holds one object per line, or one list of objects. A column's cells are of one type: where numbers, texts or
    true and false are mixed, all are texts; cells that no task reads (objects, lists of lists) are kept as bytes. A
    name that a row lacks is a missing cell.

    Raises:
        UserError: a file is not UTF-8, has no rows, or a row is no object or has a name twice; with the row.
    """
    import pyarrow as pa
    from datasets import Dataset

    kinds: dict[str, set[str]] = {}
    for row in _rows(paths):
        for name, cell in row.items():
            kinds.setdefault(name, set()).add(_kind(cell))
    if not kinds:
        names = ", ".join(str(path) for path in paths[:3])
        raise UserError(f"{names}: there are no rows", "give a file with examples")
    types = {name: _type(found - {"null"}) for name, found in kinds.items()}
    schema = pa.schema(list(types.items()))
    target = Path(folder) / "rows.arrow"
    rows = _rows(paths)
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        while batch := list(islice(rows, BATCH)):
            arrays = [_column(paths, name, [row.get(name) for row in batch], types[name]) for name in types]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    return Dataset.from_file(str(target))


def _rows(paths: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    for path in paths:
        try:
            with path.open(encoding="utf-8-sig") as file:
                start = next((line for line in file if line.strip()), "")
                file.seek(0)
                yield from (
                    _listed(path, file.read()) if start.lstrip().startswith("[") else _lines(path, file)
                )
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 ({error.reason})", "convert the file to UTF-8") from error
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}", "check the file") from error


def _lines(path: Path, lines: Iterator[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _object(_parsed(path, line.strip(), number), f"{path}, line {number}")


def _listed(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(_parsed(path, text, 1), 1):
        yield _object(row, f"{path}, row {number}")


def _parsed(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_named_once)
    except json.JSONDecodeError as error:
        where, what = f"line {line + error.lineno - 1}", error.msg
    except (ValueError, RecursionError) as error:
        where, what = f"line {line}", str(error)
    raise UserError(
        f"{path} cannot be read: {where}: {what}",
        "give one JSON object on each line, or one list of objects",
    )


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {double!r} twice")
    return found


def _object(row: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{where} is no object of names and values", 'write {"text": ..., "label": ...}')
    return row


def _kind(cell: Any) -> str:
    """What a cell is, that of its entries behind `list of`."""
    match cell:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int" if -WIDEST <= cell < WIDEST else "long"
        case float():
            return "float"
        case str():
            return "str"
        case list():
            inner = {_kind(entry) for entry in cell} - {"null"}
            return _list_kind(inner)
    return "object"


def _list_kind(inner: set[str]) -> str:
    if not inner:
        return "list"
    if any(kind.startswith(("list", "object")) for kind in inner):
        return "object"
    return f"list of {inner.pop()}" if len(inner) == 1 else "list of str"


def _type(kinds: set[str]) -> "pa.DataType":
    """The Arrow type that holds cells of all these kinds."""
    import pyarrow as pa

    one = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    if kinds and all(kind.startswith("list") for kind in kinds):
        inner = {kind.removeprefix("list of ") for kind in kinds} - {"list"}
        return pa.list_(_type(inner))
    if any(kind.startswith(("list", "object")) for kind in kinds):
        return pa.large_binary()
    if kinds == {"int", "float"}:
        return pa.float64()
    return one.get(next(iter(kinds)), pa.string()) if len(kinds) == 1 else pa.string()


def _column(paths: Sequence[Path], name: str, cells: Sequence[Any], held_as: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    try:
        return pa.array([_cell(cell, held_as) for cell in cells], held_as)
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end].encode("ascii", "backslashreplace").decode()
        raise UserError(
            f"{paths[0]} cannot be read: a text of {name!r} holds {half}, half of a character",
            "write the file with whole characters",
        ) from error


def _cell(value: Any, held_as: "pa.DataType") -> Any:
    """A cell as its column holds it; numbers among texts are spelled as JSON spells them."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_list(held_as):
        return [_cell(entry, held_as.value_type) for entry in value]
    if pa.types.is_large_binary(held_as):
        return json.dumps(value).encode()
    if pa.types.is_string(held_as) and not isinstance(value, str):
        return str(int(value)) if isinstance(value, float) and value.is_integer() else json.dumps(value)
    return value
