"""Tasks as the shipped YAML says them, and the mistakes that readers must name."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import TaskConfig
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError


@lru_cache
def shipped_task(name: str) -> TaskConfig:
    """The task of conf/task/<name>.yaml."""
    with composer():
        return to_experiment(compose_config([f"task={name}", "data=generated", "model=any"])).task


@pytest.fixture(scope="session")
def task_of() -> Callable[[str], TaskConfig]:
    return shipped_task


@pytest.fixture(scope="session")
def real(shared_data: Path) -> Callable[[str], TaskData]:
    """A task's real data, read once."""

    @lru_cache
    def load(name: str) -> TaskData:
        return load_data(shipped_task(name), DataConfig(source=Source.local, dir=str(shared_data)))

    return load


@pytest.fixture
def refused() -> Callable[..., UserError]:
    """Runs a function that must raise UserError with these words in what it says."""

    def check(function: Callable[[], Any], *words: str) -> UserError:
        with pytest.raises(UserError) as caught:
            function()
        for word in words:
            assert word in caught.value.what, caught.value.what
        assert caught.value.mend
        assert "\n" not in caught.value.what + caught.value.mend
        return caught.value

    return check
