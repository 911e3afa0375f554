"""Errors that the command line turns into one clear line and an exit code."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, TypeVar


class UserError(Exception):
    """A mistake that the user can mend: bad configuration, missing or malformed input.

    Args:
        what: one line that says what is wrong, naming the file, line or value.
        mend: one line that says how to mend it.

    The command line prints both lines without a traceback and exits with `status`.
    """

    status: ClassVar[int] = 2

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str]]:
        return type(self), (self.what, self.mend)


def require(holds: bool, what: str, mend: str) -> None:
    """Raises UserError unless `holds`."""
    if not holds:
        raise UserError(what, mend)


Choice = TypeVar("Choice", bound=StrEnum)


def member(kind: type[Choice], name: str, what: str) -> Choice:
    """The member of `kind` with this value; raises UserError, calling it a `what`, if there is none."""
    try:
        return kind(name)
    except ValueError:
        raise UserError(f"unknown {what} {name!r}", f"choose one of {', '.join(kind)}") from None


def reason(error: Exception) -> str:
    """Why a file cannot be written, in the system's words; of a file where a folder should be, its name too."""
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        path = Path(error.filename)
        file = next(one for one in (path, *path.parents) if one.exists())
        return f"{file} is a file, not a folder"
    return getattr(error, "strerror", None) or str(error)


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean ...? ` with the known names that are close to `name`, whatever their case, or nothing."""
    spelled = {one.lower(): one for one in known}
    close = [spelled[one] for one in get_close_matches(name.lower(), spelled, n=3, cutoff=0.5)]
    return f"did you mean {' or '.join(close)}? " if close else ""


def listed(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` and how many more there are: `a, b and 7 more`, or with "; " between them `a; b; and 7 more`."""
    left = len(items) - most
    more = f"{separator.rstrip(', ')} and {left} more" if left > 0 else ""
    return separator.join(items[:most]) + more
