"""What the words after `autolora-bench` or a subcommand ask for, before anything is composed of them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora_bench.config.own_folder import check_own_folder
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir

CONFIG_DIR = ("--config-dir", "-cd")
"""The flag that names a configuration folder of the user's own."""


@dataclass(frozen=True)
class Request:
    """What the words after `autolora-bench` ask for."""

    overrides: tuple[str, ...] = ()
    multirun: bool = False
    config_dir: Path | None = None
    reads_data: bool = True
    """False where only records of the runs are read: then data.dir need not be said."""

    @property
    def own_folder(self) -> list[str]:
        """The words that name the user's own configuration folder."""
        return ["--config-dir", str(self.config_dir)] if self.config_dir else []

    @property
    def flags(self) -> list[str]:
        """The flags, as words; Hydra wants them before the overrides."""
        return [*self.own_folder, *(["--multirun"] if self.multirun else [])]

    @property
    def said(self) -> dict[str, str]:
        """What each word says of what it names."""
        return {name_of(word): word.partition("=")[2] for word in self.overrides}

    @property
    def folders(self) -> list[Path]:
        """Configuration folders, the user's own first."""
        return [*([self.config_dir] if self.config_dir else []), conf_dir()]


def read_request(words: Sequence[str]) -> Request:
    """Overrides, -m/--multirun and --config-dir; Hydra's own flags are left to Hydra. Of two words that name the same
    the later holds, as with Hydra.

    Raises:
        UserError: --config-dir names no folder, or one with a file that `check_own_folder` or `read_own`
            refuses, or a word is neither `key=value` nor a flag.
    """
    overrides: list[str] = []
    multirun, folder = False, None
    rest = iter(words)
    for word in rest:
        if word in ("-m", "--multirun"):
            multirun = True
        elif name_of(word) in CONFIG_DIR:
            folder = _folder(word.partition("=")[2] or next(rest, ""))
        elif word.startswith("-"):
            raise UserError(
                f"unknown option {word}", "autolora-bench --help shows all; settings are written key=value"
            )
        elif "=" in word or word.startswith("~"):
            overrides = [*(other for other in overrides if name_of(other) != name_of(word)), word]
        else:
            raise UserError(f"{word!r} is no setting", "settings are written key=value, as in task=rte")
    _read_own(folder)
    return Request(tuple(overrides), multirun, folder)


def _read_own(folder: Path | None) -> None:
    """Read the Python files of the user's folder, or forget those of an earlier one. Where there is none, a command
    does without the import, and so may do without Hydra."""
    if folder is not None or "autolora_bench.user_code" in sys.modules:
        from autolora_bench.user_code import read_own

        read_own(folder)


def name_of(word: str) -> str:
    """What a word says something of; Hydra's + and ++ before it are no part of the name."""
    return word.partition("=")[0].lstrip("+")


def _folder(name: str) -> Path:
    path = Path(name).expanduser()
    if not name or not path.is_dir():
        raise UserError(
            f"--config-dir {name or '(nothing)'}: no such folder", "name a folder laid out like conf/"
        )
    check_own_folder(path)
    return path
