"""autolora-bench: honest, fast, reproducible benchmarking of low-rank fine-tuning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autolora_bench.api import RunFailedError, run, sweep
    from autolora_bench.errors import UserError
    from autolora_bench.metrics.evaluate_modules import load_metric
    from autolora_bench.push import PushFailedError
    from autolora_bench.report.results_frame import load_results

__version__ = "0.1.0"
__all__ = [
    "PushFailedError",
    "RunFailedError",
    "UserError",
    "__version__",
    "load_metric",
    "load_results",
    "run",
    "sweep",
]

_HOMES = {
    "run": "autolora_bench.api",
    "sweep": "autolora_bench.api",
    "PushFailedError": "autolora_bench.push",
    "RunFailedError": "autolora_bench.api",
    "UserError": "autolora_bench.errors",
    "load_metric": "autolora_bench.metrics.evaluate_modules",
    "load_results": "autolora_bench.report.results_frame",
}
"""Where the public names live: importing this package imports none of their libraries."""


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
