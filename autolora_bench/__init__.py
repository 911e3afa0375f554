"""autolora-bench: honest, fast, reproducible benchmarking of low-rank fine-tuning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autolora_bench.report.frames import load_results

__version__ = "0.1.0"
__all__ = ["__version__", "load_results"]

_HOMES = {"load_results": "autolora_bench.report.frames"}
"""Where the public names live: importing this package imports none of their libraries."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
