"""What somebody else wrote: read without waiting, parsed within bounds, shown without effect.

Records, locks and artefacts may come from anybody (merge=, records=), as any file that a folder can hold and with any
text that a file can hold.
"""

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

LARGEST = 64 * 2**20
"""Bytes; a larger file is no record and no artefact of ours."""
DEEPEST = 40
"""Levels of lists and objects in each other."""
LARGEST_NUMBER = 2**63
SHOWN = 160
"""Characters of somebody else's text in one line of a message."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a terminal's cursor, changes its state or turns the order of letters, line ends and tabs aside."""
FORMULA = re.compile(r"[=@\t\r\n]|[-+](?![-+\d.,:;%±()\[\]\s]*$)")
"""How a text begins that a spreadsheet takes for a formula; numbers and spans of numbers may have a sign."""


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Content of a regular file.

    Raises:
        OSError: it cannot be read, is a pipe, a device or a folder, or is larger than `largest`.
    """
    # Neither the opening nor the reading of a pipe may wait for somebody to write.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is not a regular file")
        if found.st_size > largest:
            raise OSError(f"it has {found.st_size:,} bytes, more than {largest:,}")
        return file.read(largest)


def parse_json(content: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or holds what no record of ours does (see `check_plain`).
    """
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise ValueError("lists or objects lie too deep in each other") from error
    check_plain(value)
    return value


def check_plain(value: Any, depth: int = 0) -> None:
    """Hold a value, dataclasses included, against what can be computed with and written again.

    Raises:
        ValueError: it is nested deeper than DEEPEST, or holds a number that is none or beyond 2^63, or text that no
            encoding has.
    """
    if depth > DEEPEST:
        raise ValueError(f"lists or objects lie more than {DEEPEST} levels deep in each other")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text has half of a character (a lone surrogate)") from error
    elif isinstance(value, int):
        if abs(value) >= LARGEST_NUMBER:
            raise ValueError("a whole number has more than 19 digits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number is not finite")
    elif isinstance(value, dict):
        for name, inner in value.items():
            check_plain(name, depth)
            check_plain(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_plain(inner, depth + 1)
    elif value is not None:
        for inner in vars(value).values():
            check_plain(inner, depth + 1)


def printable(text: str) -> str:
    """The text as a terminal may have it: control characters other than line ends and tabs as `\\x1b`."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def in_a_line(text: str) -> str:
    """The beginning of a text as part of a message of one line."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


def csv_cell(value: object) -> object:
    """A cell of a CSV file: text that a spreadsheet would run as a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value
