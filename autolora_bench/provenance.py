"""Where a number comes from: code, versions, machine."""

import os
import platform
import subprocess
from functools import cache
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
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
"""Flags that decide which kernels of PyTorch run, and with them the last bits of a sum."""
OF_A_REPOSITORY = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
}
"""Variables by which git is told of another repository than that of a folder; others hold a user's settings."""


def provenance() -> dict[str, Any]:
    """Commit and dirty flag of the code, package versions, Python, operating system, processor and its kind.

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
        "microarchitecture": _microarchitecture(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


@cache
def _version(package: str) -> str | None:
    from importlib import metadata  # a fiftieth of the time of `status`, which needs none

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def _commit() -> tuple[str | None, bool | None]:
    """Commit of the checkout this code runs from, if it is one (an installed package has none).

    It is asked for once: what is committed while a process runs is not what it runs.
    """
    return commit_of(Path(__file__).resolve().parent)


def commit_of(package: Path) -> tuple[str | None, bool | None]:
    """Commit that holds a package's folder, and whether it or conf/ beside it has changed since; None without one.

    A copy that lies in another repository, which does not track it, has none.
    """
    if not (package.parent / "pyproject.toml").is_file():
        return None, None
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    commit = _git(package, "rev-parse", "HEAD")
    told = ("status", "--porcelain", "--untracked-files=all", "--")
    changes = _git(package, *told, str(package), str(package.parent / "conf"))
    return commit, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers of the repository that a folder lies in, whichever its own variables name."""
    own = {name: value for name, value in os.environ.items() if name not in OF_A_REPOSITORY}
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, env=own, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _processor() -> str:
    return _said_of_processor("model name") or platform.processor() or platform.machine()


def _microarchitecture() -> str | None:
    """Generation and instructions, as `family 25 model 1, avx2`: in a virtual machine the name is often that of a whole
    line of processors, with and without bfloat16. None where Linux does not say."""
    x86, arm = ("cpu family", "family"), ("CPU implementer", "implementer")
    parts = [x86, ("model", "model"), arm, ("CPU part", "part")]
    generation = [f"{title} {found}" for name, title in parts if (found := _said_of_processor(name))]
    known = [name for name in INSTRUCTIONS if name in _flags()]
    return ", ".join(filter(None, [" ".join(generation), *known])) or None


def why_bf16_is_slow() -> str | None:
    """What is known to make bfloat16 slower than fp32 on this processor, as a clause; None where nothing is.

    Without instructions for it products are emulated. Intel's processors with AVX-512 FP16 have AMX too, which is what
    makes bfloat16 fast on them; a virtual machine may hide it, and what is left gives half of fp32's speed.
    """
    flags = set(_flags())
    if flags and flags.isdisjoint(BF16):
        return "the processor has no bfloat16 instructions, and fp32 is about twice as fast"
    amx_hidden = {"avx512_bf16", "avx512_fp16"} <= flags and "amx_bf16" not in flags
    if amx_hidden and _said_of_processor("vendor_id") == "GenuineIntel":
        return "the processor's AMX is switched off or hidden from this machine, and fp32 is about 1.5 times as fast"
    return None


def _flags() -> list[str]:
    return (_said_of_processor("flags") or _said_of_processor("Features") or "").split()


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
