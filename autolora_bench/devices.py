"""The device a run computes on: choice, description, peak memory."""

import ctypes
import gc
import logging
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import psutil
import torch
from transformers.utils import logging as transformers_logging
from transformers.utils.import_utils import is_flash_attn_2_available

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.model import Attention
from autolora_bench.errors import UserError
from autolora_bench.processes import world_size

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
"""While it is imported, which the import of a Trainer does, it advises kernels where nothing is quantised."""
CLEAR_REFS = Path("/proc/self/clear_refs")
CONTROL_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Files with the most memory that a group of processes may take, and what it takes, as a container sees its own."""


def device(experiment: ExperimentConfig) -> torch.device:
    """The device that a run asks for; auto takes an accelerator where there is one.

    Raises:
        UserError: no such device here, or none that the run's other settings are for.
    """
    found = _device(experiment.device)
    if experiment.train.cpu_kernels is True and found.type != "cpu":
        raise UserError(
            f"train.cpu_kernels=true is for a CPU, and device={experiment.device} is {found.type} here",
            "say device=cpu, or leave train.cpu_kernels out",
        )
    if experiment.model.attention is Attention.flash_attention_2:
        _check_flash(experiment.device, found)
    return found


def _check_flash(asked: str, found: torch.device) -> None:
    """Raises UserError where transformers would compute something else, or fetch a kernel from the hub and run it."""
    if found.type != "cuda":
        raise UserError(
            f"model.attention=flash_attention_2 is for an NVIDIA GPU, and device={asked} is {found.type} here",
            "leave it out, or run on a machine with one",
        )
    if not is_flash_attn_2_available():
        raise UserError(
            "model.attention=flash_attention_2: transformers cannot use the installed flash_attn",
            "pip install 'flash-attn>=2.3.3', or leave it out",
        )


def _device(name: str) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        raise UserError(
            f"device={name}: torch finds none here", "say device=cpu, or install a torch built for it"
        )
    return torch.device(name)


def prepare(experiment: ExperimentConfig) -> None:
    """Process-wide settings of a run: threads, and libraries that would talk over our own progress."""
    datasets.disable_progress_bars()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    if experiment.train.threads is not None:
        torch.set_num_threads(experiment.train.threads)


def describe(device: torch.device) -> dict[str, Any]:
    """Device, threads, and processes where there are several, for the record."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    several = {"processes": world_size()} if world_size() > 1 else {}
    return {"device": name, "threads": torch.get_num_threads(), **several}


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, and of the control group that it is confined to."""
    free: int = min(psutil.virtual_memory().available, *_left_of_groups())
    return free


def _left_of_groups() -> list[int]:
    """Of Linux's control groups, version 2 or 1; pages of files count as used though they can be reclaimed."""
    found = []
    for limit, used in CONTROL_GROUPS:
        with suppress(OSError, ValueError):  # no such group, or "max"
            found.append(max(int(Path(limit).read_text()) - int(Path(used).read_text()), 0))
    return found or [sys.maxsize]


def reset_peak_memory(device: torch.device) -> bool:
    """Start a new measurement; on Linux the process's peak resident set is reset by the kernel.

    What earlier runs of a process have freed is given back first: the allocator keeps it, and it would count as this
    one's.

    Returns:
        Whether a measurement could be started: without it the peak is that of all the process has done.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # another C library than glibc, or Windows
        ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def peak_memory(device: torch.device) -> int | None:
    """Bytes at the peak since `reset_peak_memory`: allocated by torch on CUDA, resident elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else None
