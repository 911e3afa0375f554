"""Every number of a run's configuration is finite: a record is JSON, which has no others."""

import dataclasses
import math
from typing import Any

from autolora_bench.config.bounds import require
from autolora_bench.config.experiment import IDENTITY_NODES, ExperimentConfig


def check_finite(experiment: ExperimentConfig) -> None:
    """Raises UserError at the first number that is infinite or none at all."""
    for name in reversed(IDENTITY_NODES):  # train first: a search repeats what is said there
        _check(name, getattr(experiment, name))


def _check(name: str, value: Any) -> None:
    if isinstance(value, float):
        require(math.isfinite(value), f"{name}={value} is no finite number", "say a finite one")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _check(f"{name}.{field.name}", getattr(value, field.name))
    elif isinstance(value, dict):
        for key, one in value.items():
            _check(f"{name}.{key}", one)
    elif isinstance(value, list):
        for place, one in enumerate(value):
            _check(f"{name}[{place}]", one)
