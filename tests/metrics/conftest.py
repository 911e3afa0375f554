"""Fixtures of the metric tests: Java or a reason to skip, and the official cases as lists."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autolora_bench.metrics.generation.java import JAVA_VARIABLE, jar, java_executable
from autolora_bench.metrics.scores import MetricUnavailableError


@pytest.fixture(scope="session")
def java() -> str:
    """Path of a Java runtime; skips where there is none. METEOR's own process is shared by all tests."""
    try:
        jar("meteor/meteor-1.5.jar")
        return java_executable()
    except MetricUnavailableError as unavailable:
        pytest.skip(str(unavailable))


@pytest.fixture
def fake_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A function that makes a shell script stand for Java."""

    def install(script: str) -> Path:
        path = tmp_path / "java"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv(JAVA_VARIABLE, str(path))
        return path

    if os.name != "posix":
        pytest.skip("shell scripts are needed")
    return install


@pytest.fixture(scope="session")
def case_folder(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """A function that gives a case's folder: the committed one, else the one beside the checkout, else skips."""

    def folder(case: str) -> Path:
        committed = Path(__file__).parent / "cases" / case
        return committed if committed.is_dir() else request.getfixturevalue("metric_cases") / case

    return folder


@pytest.fixture(scope="session")
def expected(case_folder: Callable[[str], Path]) -> Callable[[str], dict[str, Any]]:
    """A function that gives a case's expected.json."""
    return lambda case: json.loads((case_folder(case) / "expected.json").read_text(encoding="utf-8"))
