"""The weights that a method trains, as one safetensors file whatever the method."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from autolora_bench.errors import UserError


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies, on the CPU, of every parameter that requires a gradient."""
    return {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def save_trainable(model: nn.Module, path: Path) -> None:
    """Write the trainable weights whole or not at all. Raises UserError where they cannot be written."""
    save_tensors(trainable_state(model), path)


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors, whole or not at all. Raises UserError where they cannot be written."""
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary)
        _flush(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}",
            "free some space or choose another folder with results=DIR",
        ) from error


def share(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where the file system has no hard links."""
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_name(f".{target.name}.writing")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def load_trainable(model: nn.Module, path: Path) -> None:
    """Put saved weights back.

    Raises:
        UserError: the file is damaged, or its names or shapes are not those of the model's trainable weights.
    """
    try:
        saved = load_file(path)
    except Exception as error:
        raise UserError(f"{path} is damaged: {error}", "delete it; the phase starts again") from error
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if {n: p.shape for n, p in parameters.items()} != {n: t.shape for n, t in saved.items()}:
        raise UserError(f"{path} belongs to another model or method", "delete it; the phase starts again")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
