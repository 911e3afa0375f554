"""The command line: a bare word is a subcommand, wherever it stands; anything with `=` or a dash is its or Hydra's."""

import codecs
import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from autolora_bench.commands.options import COMMANDS, VALUED, command_help
from autolora_bench.errors import UserError, nearest
from autolora_bench.interruption import Interrupted
from autolora_bench.untrusted import printable

IN_ASCII = {
    "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{PLUS-MINUS SIGN}": "+/-",
    "\N{MULTIPLICATION SIGN}": "x", "\N{DAGGER}": "#", "\N{DOWNWARDS ARROW}": "(down)", "\N{MIDDLE DOT}": ".",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    **{chr(0x2580 + eighths): str(eighths) for eighths in range(1, 9)},
}  # fmt: skip
"""What stands for our own letters, and for the blocks of drawn ranks, where the output's encoding has them not."""


def main() -> None:
    """Entry point of `autolora-bench`."""
    codecs.register_error("in_ascii", in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "backslashreplace"):
            stream.reconfigure(errors="in_ascii")
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Exit status of the command line `words`: 0 done, 1 a run or a push failed, 2 a user's mistake, 3 nothing failed
    and other processes are still making runs of it, 130 or 143 interrupted."""
    try:
        return _dispatch(list(words))
    except UserError as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        print(printable(f"autolora-bench: {error.what}"), file=sys.stderr)
        if error.mend:
            print(printable(error.mend), file=sys.stderr)
        return error.status
    except KeyboardInterrupt as stop:
        said = [word for word in words if word.lstrip("+").startswith("rerun=")]
        policy = said[-1].lstrip("+") if said else "rerun=missing"
        again = "" if policy == "rerun=missing" else f", with rerun=missing in place of {policy},"
        print(f"interrupted; the same command{again} goes on from here", file=sys.stderr)
        return stop.status if isinstance(stop, Interrupted) else 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        print(f"autolora-bench: this should not happen: {type(error).__name__}: {error}", file=sys.stderr)
        print("HYDRA_FULL_ERROR=1 shows the traceback for a report of the fault", file=sys.stderr)
        return 1


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Handler for `codecs.register_error`: what cannot be written as ASCII; of others' letters as JSON escapes them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return IN_ASCII.get(letter) or "".join(f"\\u{units[n : n + 4]}" for n in range(0, len(units), 4))


def _dispatch(words: list[str]) -> int:
    place = _place_of_command(words)
    command = words[place] if place is not None and words[place] in COMMANDS else None
    asks_for_help = bool({"-h", "--help"} & {*words})
    if command is not None and asks_for_help and command != "help":
        print(command_help(command), end="")
        return 0
    if asks_for_help or not words:
        command, words = "help", []
        place = None
    if command is not None:
        rest = words if place is None else [*words[:place], *words[place + 1 :]]
        return int(import_module(f"autolora_bench.commands.{command}").run(rest))
    if place == 0:
        raise UserError(
            f"there is no command {words[0]!r}",
            f"{nearest(words[0], COMMANDS)}autolora-bench --help shows all",
        )
    return int(import_module("autolora_bench.commands.launch").run(words))


def _place_of_command(words: Sequence[str]) -> int | None:
    """Where the first bare word stands that is no flag's value."""
    for place, word in enumerate(words):
        value = place > 0 and words[place - 1] in VALUED
        if not value and "=" not in word and not word.startswith(("-", "~")):
            return place
    return None
