"""Rows of JSON files, cell by cell as they stand.

Readers that infer types change texts without a word: one that looks like a date becomes a date, and where a column
holds numbers too, a text in quotation marks loses them. Here a text stays the text that it is.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autolora_bench.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

BATCH = 10_000
WIDEST, EXACT = 2**63, 2**53
"""Whole numbers from here on have no type in Arrow, or no place among numbers with a point: such columns are texts."""


def json_dataset(paths: Sequence[Path], folder: str) -> "Dataset":
    """The rows of the files in their order, written into `folder` and memory-mapped from there.

    A file holds one object per line, or one list of objects. A column's cells are of one type: where numbers, texts or
    true and false are mixed, all are texts; cells that no task reads (objects, lists of lists) are kept as bytes. A
    name that a row lacks is a missing cell, and so is NaN among texts, which is how pandas writes one.

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
    columns = {name: _held_as(found - {"null"}) for name, found in kinds.items()}
    target = Path(folder) / "rows.arrow"
    rows = _rows(paths)
    try:
        schema = pa.schema([(name, held_as) for name, (held_as, _) in columns.items()])
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            while batch := list(islice(rows, BATCH)):
                arrays = [
                    pa.array([convert(row.get(name)) for row in batch], held_as)
                    for name, (held_as, convert) in columns.items()
                ]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end].encode("ascii", "backslashreplace").decode()
        names = ", ".join(str(path) for path in paths[:3])
        raise UserError(
            f"{names} cannot be read: a text or a name holds {half}, half of a character",
            "write the file with whole characters",
        ) from error
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
        return json.loads(text, object_pairs_hook=named_once)
    except json.JSONDecodeError as error:
        where, what = f"line {line + error.lineno - 1}", error.msg
    except (ValueError, RecursionError) as error:
        where, what = f"line {line}", str(error)
    raise UserError(
        f"{path} cannot be read: {where}: {what}",
        "give one JSON object on each line, or one list of objects",
    )


def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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
            return "int" if abs(cell) <= EXACT else "long" if -WIDEST <= cell < WIDEST else "digits"
        case float():
            return "float" if math.isfinite(cell) else "nan"
        case str():
            return "str"
        case list():
            return _list_kind({_kind(entry) for entry in cell} - {"null"})
    return "object"


def _list_kind(inner: set[str]) -> str:
    if not inner:
        return "list"
    if any(kind.startswith(("list", "object")) for kind in inner):
        return "object"
    if inner <= WHOLE:
        return "list of long" if "long" in inner else "list of int"
    if inner <= NUMBERS:
        return "list of float"
    return f"list of {inner.pop()}" if len(inner) == 1 else "list of str"


WHOLE = {"int", "long"}
NUMBERS = {"int", "float", "nan"}
"""What a column of numbers with a point holds."""


def _held_as(kinds: set[str]) -> tuple["pa.DataType", Callable[[Any], Any]]:
    """The Arrow type that holds cells of all these kinds, and what makes such a cell of one."""
    import pyarrow as pa

    if kinds and all(kind.startswith("list") for kind in kinds):
        held_as, _ = _held_as({kind.removeprefix("list of ") for kind in kinds} - {"list"})
        convert = _as_text if pa.types.is_string(held_as) else _same
        return pa.list_(held_as), lambda cell: cell if cell is None else [convert(entry) for entry in cell]
    if any(kind.startswith(("list", "object")) for kind in kinds):
        return pa.large_binary(), lambda cell: cell if cell is None else json.dumps(cell).encode()
    if kinds == {"bool"}:
        return pa.bool_(), _same
    if kinds and kinds <= WHOLE:
        return pa.int64(), _same
    if kinds and kinds <= NUMBERS:
        return pa.float64(), _same
    return pa.string(), _same if kinds == {"str"} else _as_text


def _same(cell: Any) -> Any:
    return cell


def _as_text(cell: Any) -> str | None:
    """Numbers among texts are spelled as JSON spells them, without a point where they need none."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else json.dumps(cell)
