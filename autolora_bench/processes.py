"""Which of several processes of one run this is, and how they act as one: torchrun's and accelerate's environment.

The main process alone decides, prints and writes; the others are told. torch is imported only where there are several.
"""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Any, TypeVar

from autolora_bench.errors import UserError

T = TypeVar("T")
PATIENCE = timedelta(hours=12)
"""Longest wait for another process: the others wait while the main one evaluates. A death is noticed at once."""
MEETING = timedelta(seconds=20)
RENDEZVOUS = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torch's processes find each other by, beside their number."""
LOST = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe")
"""Words of torch's errors where another process is gone."""


def world_size() -> int:
    """Processes that train together; 1 without torchrun. Raises UserError where the environment says no number."""
    said = os.environ.get("WORLD_SIZE") or "1"
    if not said.isdecimal():
        raise UserError(f"WORLD_SIZE={said} is no number of processes", "unset it, or start with torchrun")
    return int(said)


def rank() -> int:
    """Which of them this one is, from 0; 0 where there is one, whatever else RANK is used for.

    Raises UserError where RANK says none of them.
    """
    if world_size() == 1:
        return 0
    said = os.environ.get("RANK") or "0"
    if not said.isdecimal() or int(said) >= world_size():
        raise UserError(
            f"RANK={said} is none of {world_size()} processes", "unset it, or start with torchrun"
        )
    return int(said)


def is_main() -> bool:
    """Whether this process writes and prints for all."""
    return rank() == 0


def on_main(call: Callable[[], T]) -> T:
    """What `call` returns in the main process, in every process; what it raises there is raised in all."""
    if world_size() == 1:
        return call()
    import torch.distributed as dist

    _join()
    answer: list[Any] = [None, None]
    if is_main():
        try:
            answer[0] = call()
        except Exception as error:
            _tell([None, _portable(error)], dist)
            raise
    _tell(answer, dist)
    if answer[1] is not None:
        raise answer[1]
    found: T = answer[0]
    return found


def meet() -> bool:
    """Whether all processes come here: after a failure, whether it was one of all of them."""
    if world_size() == 1:
        return True
    import torch.distributed as dist

    try:
        dist.monitored_barrier(timeout=MEETING)
    except RuntimeError:
        return False
    return True


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process of the run is gone."""
    return world_size() > 1 and isinstance(error, RuntimeError) and any(w in str(error).lower() for w in LOST)


def leave() -> None:
    """End the connection to the other processes, if there is one."""
    if "torch.distributed" in sys.modules:
        dist = sys.modules["torch.distributed"]
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def silent(call: Callable[[], T]) -> T:
    """`call` without what it prints: what the main process prints too."""
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(redirect_stdout(nowhere))
        stack.enter_context(redirect_stderr(nowhere))
        return call()


def _join() -> None:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    missing = [name for name in RENDEZVOUS if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE={world_size()} says that several processes train together, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set",
            "start them with torchrun or accelerate launch (docs/launchers.md), or unset WORLD_SIZE",
        )
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def _portable(error: Exception) -> Exception:
    if isinstance(error, UserError):
        return UserError(error.what, error.mend)
    return RuntimeError(f"{type(error).__name__}: {error}")


def _tell(answer: list[Any], dist: Any) -> None:
    dist.broadcast_object_list(answer, src=0)
