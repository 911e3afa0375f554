"""Where a number comes from: code, versions, machine."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "autolora-bench",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "sacrebleu",
    "scikit-learn",
)

CPUINFO = Path("/proc/cpuinfo")
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of x86 and Arm processors that compute with bfloat16."""


def provenance() -> dict[str, Any]:
    """Commit and dirty flag of the code, package versions, Python, operating system, processor.

    Accelerator and memory are added by the runner, which has torch.
    """
    commit, dirty = _commit()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _version(package: str) -> str | None:
    from importlib import metadata  # a fiftieth of the time of `status`, which needs none

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, bool | None]:
    """Commit of the checkout this code runs from, if it is one (an installed package has none)."""
    package = Path(__file__).resolve().parent
    if not (package.parent / "pyproject.toml").is_file():
        return None, None
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", str(package), str(package.parent / "conf"))
    return commit, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _processor() -> str:
    return _said_of_processor("model name") or platform.processor() or platform.machine()


def lacks_bf16() -> bool:
    """Whether this processor is known to have no instructions for bfloat16: its products are then emulated."""
    flags = (_said_of_processor("flags") or _said_of_processor("Features") or "").split()
    return bool(flags) and BF16.isdisjoint(flags)


def _said_of_processor(name: str) -> str | None:
    """What Linux says of the first processor; None elsewhere."""
    try:
        for line in CPUINFO.read_text().splitlines():
            found, _, said = line.partition(":")
            if found.strip() == name:
                return said.strip()
    except OSError:
        pass
    return None
