"""Outputs that are decoded already, kept batch by batch, so that an interrupted decoding goes on where it stopped."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn


class FinishedBatches:
    """A file with one line per finished batch; its first line names what was decoded with which weights.

    Args:
        path: the file, or None to keep nothing.
        key: a file with another key is begun anew.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.path = path
        self.outputs: dict[int, list[str]] = {}
        if path is None:
            return
        lines = _whole_lines(path)
        if lines[:1] == [{"key": key}]:
            self.outputs = {line["batch"]: line["outputs"] for line in lines[1:]}
        else:
            path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")

    def add(self, batch: int, outputs: list[str]) -> None:
        """Keep a batch; it is on disk when this returns."""
        self.outputs[batch] = outputs
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"batch": batch, "outputs": outputs}, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())


def decoding_key(model: nn.Module, *parts: Any) -> str:
    """Hash of what decides the outputs: trained weights, prompts, settings."""
    digest = hashlib.sha256(repr(parts).encode())
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _whole_lines(path: Path) -> Sequence[Any]:
    """The file's lines up to the first that was cut off in writing, which is removed with all after it."""
    found, good = [], 0
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
        try:
            if not line.endswith(b"\n"):
                break
            found.append(json.loads(line))
        except ValueError:
            break
        good += len(line)
    if found and good < path.stat().st_size:
        os.truncate(path, good)
    return found
