"""What train.cpu_kernels=auto and train.padding_free=auto come to: decided once, when a run starts, and noted in its
record, so that an interrupted run goes on as it began however much memory is free by then.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autolora_bench import devices
from autolora_bench.config.architectures import ENCODER_DECODERS
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.model import Dtype, Quantization
from autolora_bench.config.padding import needs_padding
from autolora_bench.config.ranges import AUTO
from autolora_bench.config.registry import kind_of
from autolora_bench.config.train import WAYS
from autolora_bench.models.hub import available
from autolora_bench.models.locate import locate
from autolora_bench.models.preflight import architecture_of, layerdrop_of, weights_of
from autolora_bench.processes import world_size

COPIES = 3
"""Of the frozen weights that train.cpu_kernels may keep in memory: packed for the forward pass, for the backward pass,
and for decoding."""
BYTES = 4
"""Of a weight."""
PART = 1 / 4
"""Of the free memory that the copies may take."""
WHY = "why"
"""Under this name stands, for each way that auto left off, the reason."""


def decide_ways(experiment: ExperimentConfig, device: torch.device, noted: object = None) -> dict[str, Any]:
    """Way -> whether the run computes so; and under WHY what speaks against those that auto leaves off.

    Args:
        experiment: the run.
        device: it computes on.
        noted: what an earlier attempt had decided, as its record has it.

    Raises:
        UserError: auto was said, and the model's files cannot be read.
    """
    asked = {way: getattr(experiment.train, way) for way in WAYS}
    before = noted if isinstance(noted, Mapping) else {}
    open_ = [way for way, said in asked.items() if said == AUTO and not isinstance(before.get(way), bool)]
    why = _reasons(experiment, device, open_) if open_ else {}
    used = {
        way: bool(before.get(way, way not in why)) if said == AUTO else bool(said)
        for way, said in asked.items()
    }
    if device.type != "cpu" and asked["cpu_kernels"] == AUTO:
        used["cpu_kernels"] = False  # an interrupted run may go on elsewhere
    earlier = before.get(WHY)
    return {**used, **({WHY: why or earlier} if why or earlier else {})}


def _reasons(experiment: ExperimentConfig, device: torch.device, ways: list[str]) -> dict[str, str]:
    """Way -> why auto leaves it off; without those that are taken."""
    against = ""
    if device.type != "cpu":
        against = f"not measured on {device.type}"
    elif kind_of(experiment.method).digests:
        against = f"method={experiment.method.name} is not the project's"
    elif experiment.model.dtype is not Dtype.fp32:
        against = f"not proved for model.dtype={experiment.model.dtype.name}"
    elif experiment.model.quantization is not Quantization.none:
        against = f"not proved for model.quantization={experiment.model.quantization.name}"
    elif experiment.train.gradient_checkpointing:
        against = "not proved for train.gradient_checkpointing=true"
    elif experiment.train.compile:
        against = "not proved for train.compile=true"
    elif experiment.train.fsdp:
        against = "not proved for train.fsdp=true"
    if against:
        return dict.fromkeys(ways, against)
    location = available(locate(experiment.model))
    drawn = experiment.model.random is not None
    folder = None if drawn else Path(location.source)
    if folder is not None and architecture_of(folder) in ENCODER_DECODERS:
        return dict.fromkeys(ways, f"not proved for the architecture {architecture_of(folder)}")
    found = {"cpu_kernels": _too_large(folder), "padding_free": _needs_padding(experiment, folder)}
    return {way: found[way] for way in ways if found[way]}


def _too_large(folder: Path | None) -> str:
    """Empty where the copies of the weights fit; random nets are small."""
    copies = 0 if folder is None else COPIES * BYTES * weights_of(folder)
    free = devices.free_memory() / world_size()
    if copies <= PART * free:
        return ""
    return f"copies of the weights may take {_gib(copies)}, more than a quarter of {_gib(free)} that was free"


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def _needs_padding(experiment: ExperimentConfig, folder: Path | None) -> str:
    needs = needs_padding(experiment, None if folder is None else architecture_of(folder))
    if needs is not None:
        return f"not proved for {needs[0]}"
    return (
        f"the model's layerdrop={layerdrop_of(folder)}" if folder is not None and layerdrop_of(folder) else ""
    )
