"""Reads tables through the builders of Hugging Face's `datasets`, cell by cell as they stand.

The builders' defaults would change cells without a word: CSV cells such as `n/a` and `null` become missing, digits
become numbers, and rows with too few or too many cells are filled up or cut. Here every CSV cell is text, and rows of
another width are refused with their line. JSON has a reader of its own (`json_rows`).
"""

import csv
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from autolora_bench.errors import UserError, listed
from autolora_bench.tables.json_rows import json_dataset

if TYPE_CHECKING:
    from datasets import Dataset

BUILDERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
}
"""Ending of a file -> builder that reads it."""
FORMATS = "CSV (.csv), TSV (.tsv), JSON lines (.jsonl, .json) or parquet (.parquet)"
SHOWN = 20
"""Columns that a message lists."""
WILD = "*?["
NO_ROWS = "corresponds to no data"
"""What `datasets` says of a split without examples."""


@dataclass(frozen=True)
class Dialect:
    """How a CSV or TSV file is written."""

    delimiter: str
    quoting: int
    header: tuple[str, ...]


def find_files(said: str, setting: str) -> list[Path]:
    """The files that `data.train=` and the like name: one, those that fit a pattern, or all tables in a folder.

    Args:
        said: a file, a pattern such as `train-*.parquet`, or a folder.
        setting: the setting that says it, for messages.

    Raises:
        UserError: there is no such file, or one whose ending says of no format.
    """
    path = Path(said).expanduser()
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in BUILDERS)
    elif any(letter in path.name for letter in WILD) and not path.exists():
        found = sorted(path.parent.glob(path.name))
    else:
        found = [path]
    missing = [file for file in found if not file.is_file()]
    if missing or not found:
        what = f"there is no file {said}" if not path.is_dir() else f"the folder {said} holds no table"
        raise UserError(
            f"{setting}: {what}", f"name a file in {FORMATS}, a pattern or a folder of such files"
        )
    for file in found:
        builder_of(file)
    if len({builder_of(file) for file in found}) > 1:
        raise UserError(f"{setting}={said} stands for files of several formats", "name those of one format")
    return found


def builder_of(path: Path) -> str:
    """The builder for a file's ending. Raises UserError where there is none."""
    if path.suffix.lower() not in BUILDERS:
        raise UserError(f"{path}: a file ending in {path.suffix or 'nothing'} is no table", f"use {FORMATS}")
    return BUILDERS[path.suffix.lower()]


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator["Dataset"]:
    """The rows of the files in their order, memory-mapped for as long as the context lasts.

    Raises:
        UserError: a file cannot be read, is empty, is not UTF-8, has a row of another width, a name twice in its
            header, or other columns than the first.
    """
    from datasets import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled, load_dataset
    from datasets.utils.logging import CRITICAL, get_verbosity, set_verbosity

    builder = builder_of(paths[0])
    options = _csv_options(paths) if builder == "csv" else {}
    verbosity, bars = get_verbosity(), is_progress_bar_enabled()
    with TemporaryDirectory(prefix="autolora-bench-") as folder:
        try:
            set_verbosity(CRITICAL)  # the builder logs what is raised
            disable_progress_bars()
            if builder == "json":
                dataset = json_dataset(paths, folder)
            else:
                dataset = load_dataset(
                    builder,
                    data_files=_plainly_named(paths, Path(folder)),
                    split="train",
                    cache_dir=folder,
                    **options,
                )
        except UserError:
            raise
        except Exception as error:  # pandas, pyarrow and datasets have each their own
            raise _unreadable(paths, error) from error
        finally:
            set_verbosity(verbosity)
            if bars:
                enable_progress_bars()
        yield dataset


def _plainly_named(paths: Sequence[Path], folder: Path) -> list[str]:
    """The files under names that `datasets` takes as they are: in others it reads `[`, `*` and `?` as patterns, which
    other files fit, and `::` as a chain of file systems."""
    named = []
    for number, path in enumerate(paths):
        link = folder / f"{number}{path.suffix}"
        try:
            link.symlink_to(path.absolute())
        except OSError:  # links are not for everyone on Windows
            shutil.copyfile(path, link)
        named.append(str(link))
    return named


def _unreadable(paths: Sequence[Path], error: Exception) -> UserError:
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    reason = str(causes[-1]).strip().partition("\n")[0] or type(causes[-1]).__name__
    names = ", ".join(str(path) for path in paths[:3])
    if NO_ROWS in reason:
        return UserError(f"{names}: there are no rows", "give a file with examples")
    return UserError(f"{names} cannot be read: {reason}", "repair the file, or save it in another format")


def _csv_options(paths: Sequence[Path]) -> dict[str, Any]:
    """What the builder is told, so that cells stay as they are."""
    from datasets import Features, Value

    dialects = [_dialect(path) for path in paths]
    first = dialects[0]
    for path, other in zip(paths, dialects, strict=True):
        if other != first:
            raise UserError(
                f"{path} is not written as {paths[0]} is: its first line has {listed(other.header, SHOWN)}",
                "give files with the same columns in the same order",
            )
    return {
        "features": Features({name: Value("string") for name in first.header}),
        "sep": first.delimiter,
        "quoting": first.quoting,
        "encoding": "utf-8-sig",
        "keep_default_na": False,
        "na_filter": False,
        "index_col": False,
    }


def _dialect(path: Path) -> Dialect:
    """The delimiter, and whether quotation marks hold cells together, checked row by row.

    A CSV file whose first line has semicolons and no comma is parted by semicolons, as spreadsheets in many languages
    write it. A TSV file has quotation marks that mean nothing, as GLUE's, where they do not fit, and where every line
    is a row without them: one at the start of a text would else join it to the lines up to the next.
    """
    if path.suffix.lower() == ".tsv":
        refusals: list[UserError] = []
        for quoting, one_line_each in (
            (csv.QUOTE_MINIMAL, True),
            (csv.QUOTE_NONE, True),
            (csv.QUOTE_MINIMAL, False),
        ):
            try:
                return _check_rows(path, "\t", quoting, one_line_each)
            except UserError as refusal:
                refusals.append(refusal)
        raise refusals[1]
    head = "".join(line for _, line in zip(range(1), _lines(path), strict=False))
    return _check_rows(path, ";" if ";" in head and "," not in head else ",", csv.QUOTE_MINIMAL)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason})", "convert the file to UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "check the file") from error


@contextmanager
def _cells_of_any_size() -> Iterator[None]:
    """csv's own limit is the whole process's, and other readers count on it."""
    before = csv.field_size_limit(1 << 30)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@_cells_of_any_size()
def _check_rows(path: Path, delimiter: str, quoting: int, one_line_each: bool = False) -> Dialect:
    strict = quoting != csv.QUOTE_NONE
    reader = csv.reader(_lines(path), delimiter=delimiter, quoting=quoting, strict=strict)  # type: ignore[arg-type]
    header: tuple[str, ...] | None = None
    lines = 0
    try:
        for cells in reader:
            lines += 1
            if one_line_each and reader.line_num > lines:
                raise UserError(
                    f"{path}, line {lines}: a cell goes on in the next line", "write it in one line"
                )
            if header is None:
                header = tuple(cell or f"Unnamed: {place}" for place, cell in enumerate(cells))
                _check_header(path, header)
            elif cells and len(cells) != len(header):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells where the first line has {len(header)}",
                    "put a cell that holds the separator or a quotation mark in quotation marks",
                )
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}", "correct the line's quotes") from error
    if header is None:
        raise UserError(f"{path} is empty", "give a file with a line of column names and examples")
    return Dialect(delimiter, quoting, header)


def _check_header(path: Path, header: Sequence[str]) -> None:
    double = next((name for name in header if header.count(name) > 1), None)
    if double is not None:
        raise UserError(f"{path}: the first line names {double!r} twice", "give every column its own name")
