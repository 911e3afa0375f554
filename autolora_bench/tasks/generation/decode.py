"""Decodes every prompt of a split: batches of similar length, in the order of the split, resumable.

Outputs that are decoded already are kept batch by batch, so that an interrupted decoding goes on where it stopped.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autolora_bench.config.task import DecodingConfig
from autolora_bench.errors import UserError
from autolora_bench.models.merged import merged
from autolora_bench.models.virtual import virtual_count, virtual_tokens
from autolora_bench.speedups.packed import packed_linears
from autolora_bench.tasks.base import PARTIAL, EvaluationContext
from autolora_bench.tasks.generation.beam import beam_search, cut, find_stops
from autolora_bench.tasks.generation.encode import padded, prompt_batch
from autolora_bench.tasks.inference import by_length, evaluation_mode
from autolora_bench.tasks.model_fit import positions as positions_of


def decode(
    model: nn.Module, prompts: Sequence[Sequence[int]], settings: DecodingConfig, context: EvaluationContext
) -> list[str]:
    """One text per prompt. Meanwhile adapters are merged, where they can be, and layers on a CPU are packed.

    Raises:
        UserError: a prompt and the longest output are more than the model has positions for.
    """
    batches = list(by_length([len(prompt) for prompt in prompts], settings.batch_size))
    path = None if context.folder is None else context.folder / f"{context.split}{PARTIAL}"
    key = "" if path is None else decoding_key(model, prompts, astuple(settings), context.bf16)
    finished = FinishedBatches(path, key)
    _check_positions(model, prompts, settings, context)
    with merged(model) as plain, packed_linears(plain, context.bf16), evaluation_mode(model, context):
        virtual = virtual_tokens(model)
        blank_line = settings.blank_line_ends
        stops = find_stops(context.tokenizer, int(plain.config.vocab_size), context.device, blank_line)
        for number, positions in enumerate(batches):
            if number not in finished.outputs:
                batch = padded if plain.config.is_encoder_decoder else prompt_batch
                tokens, mask = batch([prompts[p] for p in positions], _padding(context))
                outputs = beam_search(
                    plain, tokens.to(context.device), mask.to(context.device), settings, stops, virtual
                )
                finished.add(number, [cut(output, context.tokenizer, blank_line) for output in outputs])
            done = min((number + 1) * settings.batch_size, len(prompts))
            context.progress(done, len(prompts))
    found: dict[int, str] = {}
    for number, positions in enumerate(batches):
        found.update(zip(positions, finished.outputs[number], strict=True))
    return [found[position] for position in range(len(prompts))]


def _padding(context: EvaluationContext) -> int:
    """The padding token; which one it is does not matter, for it is masked."""
    return int(context.tokenizer.pad_token_id)


def _check_positions(
    model: Any, prompts: Sequence[Sequence[int]], settings: DecodingConfig, context: EvaluationContext
) -> None:
    most = positions_of(model)
    longest = max(range(len(prompts)), key=lambda position: len(prompts[position]))
    tokens = len(prompts[longest]) + virtual_count(model)
    both_halves = bool(getattr(model.config, "is_encoder_decoder", False))
    if most is not None and not both_halves and tokens + settings.max_new_tokens > most:
        raise UserError(
            f"{context.split}, record {longest}: its prompt has {tokens} tokens; with "
            f"{settings.max_new_tokens} more it does not fit into the model's {most} positions",
            "lower task.decoding.max_new_tokens, or choose a model with a longer context",
        )


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
