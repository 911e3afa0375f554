"""Frozen weights in parts (`train.fsdp`): each process keeps its part, and gathers a block's weights as it computes it.

The parts are PyTorch's (fully_shard, FSDP2). accelerate hands a model to it on accelerators alone, and would have each
process train a part of LoRA's small matrices too. Here what is trained stays whole in every process, and its gradient
is averaged as ever: optimizer, checkpoints and exports are what they are without parts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from autolora_bench.processes import world_size
from autolora_bench.speedups.padding_free import BLOCKS


def shard_frozen(model: nn.Module, device: torch.device) -> None:
    """Leave each process its part of what is frozen, in place: of every block by itself, and of all the rest together.

    Args:
        model: whole, on `device`, and the same in all processes; what requires a gradient stays as it is.
        device: of this process.
    """
    mesh = init_device_mesh(device.type, (world_size(),))
    trained = {weight for weight in model.parameters() if weight.requires_grad}
    for module in [*(block for block in model.modules() if isinstance(block, BLOCKS)), model]:
        fully_shard(module, mesh=mesh, ignored_params=trained)


def averaging(model: nn.Module, device: torch.device, **options: Any) -> nn.Module:
    """`model`, of which `shard_frozen` has left a part, so that its backward passes average what is trained.

    Args:
        model: as `shard_frozen` has left it.
        device: of this process.
        options: of DistributedDataParallel.
    """
    parts = [name for name, weight in model.named_parameters() if isinstance(weight, DTensor)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, parts)  # type: ignore[no-untyped-call]
    places = None if device.type == "cpu" else [device.index]
    return DistributedDataParallel(model, device_ids=places, **options)


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Within this context every process has all weights, so that one alone may compute; all must enter it."""
    make_whole(model)
    try:
        yield
    finally:
        for module in _in_parts(model):
            module.reshard()
            module.set_reshard_after_forward(True, recurse=False)


def make_whole(model: nn.Module) -> None:
    """Give every process all weights, and let them stay; all processes must do it together."""
    for module in _in_parts(model):
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()


def _in_parts(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]
