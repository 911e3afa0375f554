"""Outputs that are decoded already, kept batch by batch, so that an interrupted decoding goes on where it stopped."""

import hashlib
import json
import os
import zlib
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
            path.write_text(_line({"key": key}), encoding="utf-8")

    def add(self, batch: int, outputs: list[str]) -> None:
        """Keep a batch; it is on disk when this returns."""
        self.outputs[batch] = outputs
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line({"batch": batch, "outputs": outputs}))
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


def _line(values: dict[str, Any]) -> str:
    """JSON with its CRC-32: a bit that flips on disk must not become part of a score."""
    return json.dumps({**values, "crc32": _checksum(values)}, ensure_ascii=False) + "\n"


def _checksum(values: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(values).encode())


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The file's values up to the first line that was cut off or damaged, which is removed with all after it."""
    found, good = [], 0
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
        try:
            values = json.loads(line)
            if not line.endswith(b"\n") or values.pop("crc32") != _checksum(values):
                break
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            break
        found.append(values)
        good += len(line)
    if found and good < path.stat().st_size:
        os.truncate(path, good)
    return found
