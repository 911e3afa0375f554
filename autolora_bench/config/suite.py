"""What has to be known of a suite's file before it is composed: among what it chooses, and the suites beside it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from autolora_bench.config.choices import GROUPS, choices
from autolora_bench.errors import UserError

PACKAGE = "@package _global_"
"""What tells Hydra that a file is about settings of all groups."""


@dataclass(frozen=True)
class SuiteFile:
    """A suite is a product of choices. A table that is not, as two methods beside a grid of a third, is several."""

    choices: dict[str, str] = field(default_factory=dict)
    """By group, such as task, what a word of a sweep says after the equals sign."""
    beside: list[str] = field(default_factory=list)
    """Names of suites that are run with it."""
    tuned: bool = False
    """Whether its methods are tuned before they are compared."""


def read_suite(name: str | None, folders: list[Path]) -> SuiteFile:
    """The suite of this name; an empty one where there is none.

    Raises:
        UserError: its file cannot be read.
    """
    path = choices("suite", folders).get(name or "")
    if path is None:
        return SuiteFile()
    try:
        text = path.read_text(encoding="utf-8")
        read = yaml.safe_load(text) or {}
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read: {said}", "mend it, or compare it with conf/suite/"
        ) from error
    params = _at(read, "hydra", "sweeper", "params")
    beside = read.get("beside", []) if isinstance(read, dict) else None
    if not isinstance(params, dict) or not isinstance(beside, list) or PACKAGE not in text:
        raise UserError(
            f"{path} is no suite",
            f"it starts with '# {PACKAGE}'; hydra.sweeper.params has a line for what is swept, beside a list of suites",
        )
    chosen = {str(group): str(values) for group, values in params.items() if group in GROUPS}
    tuned = isinstance(read, dict) and read.get("tuning") is not None
    return SuiteFile(chosen, [str(one) for one in beside], tuned)


def _at(read: Any, *names: str) -> Any:
    """What is there, nothing on the way there, or what is no mapping on the way."""
    for name in names:
        read = (read.get(name) or {}) if isinstance(read, dict) else read
    return read
