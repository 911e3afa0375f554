"""Runs from Python, in scripts and notebooks: the words of the command line as arguments, records as answers."""

import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from autolora_bench.commands.launch import complete
from autolora_bench.config.choices import GROUPS
from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord, Status
from autolora_bench.request import Request, read_request

PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_./*?@+-]*")
"""Text that Hydra's overrides hold without quotes."""
WORDS = ("true", "false", "null", "nan", "inf")
"""Text that would stand for a value."""


class RunFailedError(UserError):
    """A run that ended with an error which is no mistake in what was asked for; `record` holds its traceback.

    Attributes:
        record: of the run, with status failed.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        error = record.error or {}
        super().__init__(
            f"{record.task} {record.method} failed: {error.get('message', '')}",
            error.get("mend") or "the record's error holds the traceback",
        )

    def __reduce__(self) -> tuple[type["RunFailedError"], tuple[RunRecord]]:  # type: ignore[override]
        return type(self), (self.record,)


def run(*, config_dir: str | Path | None = None, **settings: Any) -> RunRecord:
    """Run one cell with one seed, or go on with it, or read what it gave before: as the command line does.

        import autolora_bench as ab

        record = ab.run(task="rte", method="lora", data="generated", seed=0, train={"epochs": 1})
        record.best["validation"].scores["accuracy"]

    Progress is printed to standard error, as by the command. Ctrl-C, or a notebook's stop, ends the run at its next
    checkpoint (twice: at once) and raises KeyboardInterrupt; the same call goes on from there.
    `push="USER/NAME"` sends the completed run's export to a model hub; one that is completed already is only sent.

    Args:
        config_dir: folder of tasks, models and methods of your own, as --config-dir.
        settings: settings by name. Groups choose a file: task="rte", method="lora", model="minilm", data="generated",
            recipe, cell. Others are dotted, `**{"train.epochs": 1}`, or nested, `train={"epochs": 1}`; a group's
            choice and its settings together are `method="lora", **{"method.rank": 8}`. Values are strings, numbers,
            booleans, None, lists, dicts and paths. A name that begins with `~` is taken out; its value is not read.

    Returns:
        The record of the completed run.

    Raises:
        UserError: words, data or a model that cannot be used, or a suite or several values, which are for `sweep`.
        RunFailedError: the run ended with another error.
        PushFailedError: the run is completed, and did not reach the hub; the same call sends it.
        KeyboardInterrupt: it was stopped.
    """
    if "suite" in settings:
        raise UserError("run is of one cell, a suite of many", f"say sweep(suite={settings['suite']!r})")
    for name in (*GROUPS, "seed"):
        if isinstance(settings.get(name), list | tuple | range):
            raise UserError(
                f"run is of one cell, and {name} has several values", "say sweep(...) with the same words"
            )
    request = _request([*_words(settings)], config_dir)
    [record] = _records(complete(request))
    if record.status is not Status.completed:
        raise _failure(record)
    return record


def sweep(*, config_dir: str | Path | None = None, **settings: Any) -> list[RunRecord]:
    """Run every combination of the values given, or a suite; what is completed is not run again.

        ab.sweep(task=["cola", "rte"], method=["lora", "autolora"], seed=range(3), data="generated")
        ab.sweep(suite="demo")

    A failed run never stops the others.

    Args:
        config_dir: as of `run`.
        settings: as of `run`; a list, tuple or range is what is swept over. A setting whose value is itself a list is
            given as a list of such: `**{"model.targets": [["query", "value"]]}`.

    Returns:
        The records of all runs, in the order in which they run; of failed ones too (`record.status`, `record.error`). A
        run that another process is making is not among them until it has a record.

    Raises:
        UserError: as `run`; also where every run is refused.
        PushFailedError: all runs have ended, and an export did not reach the hub.
        KeyboardInterrupt: it was stopped.
    """
    words = [*_words(settings, swept=True)]
    multirun = "suite" not in settings or any(
        isinstance(value, list | tuple | range) for value in settings.values()
    )
    return _records(complete(_request(words, config_dir, multirun)))


def _request(words: Sequence[str], config_dir: str | Path | None, multirun: bool = False) -> Request:
    folder = ["--config-dir", str(config_dir)] if config_dir is not None else []
    return read_request([*folder, *(["-m"] if multirun else []), *words])


def _records(found: Sequence[tuple[RunRecord | None, UserError | None]]) -> list[RunRecord]:
    """The records; raises UserError where there is none because of what was refused."""
    records = [record for record, _ in found if record is not None]
    refused = [problem for _, problem in found if problem is not None]
    if refused and not records:
        raise refused[0]
    if not records:
        raise UserError(
            "there is no record: another process is making the run, or rerun= leaves it alone",
            "ask again when it has ended, or leave rerun= out",
        )
    return records


def _failure(record: RunRecord) -> UserError:
    error = record.error or {}
    if error.get("type") == "UserError":
        return UserError(error["message"], error["mend"])
    return RunFailedError(record)


def _words(settings: Mapping[str, Any], prefix: str = "", swept: bool = False) -> list[str]:
    """Settings as Hydra's overrides; a nested mapping is its dotted settings."""
    words: list[str] = []
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if not isinstance(name, str) or not name or any(letter in name for letter in "= \t\n"):
            raise UserError(f"{name!r} is no name of a setting", "as in train={'epochs': 1}")
        if key.startswith("~"):
            words.append(key)
        elif isinstance(value, Mapping):
            words += _words(value, f"{key}.", swept)
        elif swept and isinstance(value, list | tuple | range):
            if not value:
                raise UserError(f"{key} is swept over no value", "give it at least one")
            words.append(f"{key}={','.join(_value(key, one) for one in value)}")
        else:
            words.append(f"{key}={_value(key, value)}")
    return words


def _value(key: str, value: Any) -> str:
    """A value in the grammar of Hydra's overrides, quoted where it is text."""
    if value is None:
        return "null"
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{key}={value} is no finite number", "say a finite one")
        return repr(float(value))
    if isinstance(value, str | Path):
        return str(value) if key in GROUPS else _quoted(str(value))
    if isinstance(value, list | tuple | range):
        return f"[{','.join(_value(key, one) for one in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{_value(key, one)}' for name, one in value.items())}}}"
    if getattr(value, "ndim", None) == 0:  # a number of numpy or torch
        return _value(key, value.item())
    raise UserError(
        f"{key} is a {type(value).__name__}, which a setting cannot be",
        "say text, a number, true or false, None, a list or a dict",
    )


def _quoted(text: str) -> str:
    """Text that stands for itself, but for `${seed}` and the like, which are other settings' values; quoted only where
    it has to be."""
    if "\n" in text:
        raise UserError(f"{text.splitlines()[0]!r}... has several lines", "say it in one")
    if PLAIN.fullmatch(text) and text.lower() not in WORDS and not _is_number(text):
        return text
    return QuotedString(text, Quote.single).with_quotes()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
