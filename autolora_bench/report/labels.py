"""Titles of tasks and methods and notes of models, which are no part of a record but of conf/."""

import re
from functools import cache
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from autolora_bench.paths import conf_dir

NAME = re.compile(r"[\w-]{1,100}")


@cache
def label(group: str, name: str, key: str) -> str | None:
    """The value of `key` in conf/<group>/<name>.yaml; None where there is no such file or key."""
    values = _configuration(group, name)
    nested = values.get(group)
    value = values.get(key, nested.get(key) if isinstance(nested, dict) else None)
    return value if isinstance(value, str) and value else None


@cache
def _configuration(group: str, name: str) -> dict[str, Any]:
    path = conf_dir() / group / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        return {}
    try:
        values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return {}
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}
