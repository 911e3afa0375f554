"""Fixtures shared by every test: where the real data and the metric cases are, if they are there at all."""

import gc
import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _collect_only_what_tests_leave() -> Iterator[None]:
    """Every training collects garbage: let it not look through all that was imported."""
    gc.freeze()
    yield
    gc.unfreeze()


def _beside_checkout(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / folder))
    if not path.is_dir():
        pytest.skip(f"{folder} not found: set {variable} to its folder")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets in their publishers' layouts (docs/data.md); skips where absent."""
    return _beside_checkout("AUTOLORA_BENCH_DATA", "data")


@pytest.fixture(scope="session")
def peft_experiments() -> Path:
    """Folder of the 103 adapter_config.json files of PEFT's own comparison (huggingface/peft, method_comparison,
    Apache-2.0), named <study>__<method>__<experiment>.json; skips where absent."""
    return _beside_checkout("AUTOLORA_BENCH_PEFT_EXPERIMENTS", "peft_experiments")


@pytest.fixture(scope="session")
def metric_cases() -> Path:
    """Folder of inputs and expected values from the official scorers; skips where absent."""
    return _beside_checkout("AUTOLORA_BENCH_METRIC_CASES", "metric_cases")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer BERT encoder whose vocabulary is that of the generated English tasks."""
    return _saved("tiny_encoder", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer Llama that reads bytes."""
    return _saved("tiny_decoder", tmp_path_factory)


def _saved(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    save = runpy.run_path(str(REPOSITORY / "scripts" / f"{name}.py"))[f"save_{name}"]
    folder: Path = save(tmp_path_factory.mktemp(name))
    return folder
