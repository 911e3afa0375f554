"""Runs a model over a split: batches of similar length, every example once, results in the split's order."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import nn

from autolora_bench.tasks.base import Batch, EvaluationContext

Collate = Callable[[Sequence[Mapping[str, Any]]], Batch]


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Positions in batches, longest first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


@contextlib.contextmanager
def evaluation_mode(model: nn.Module, context: EvaluationContext) -> Iterator[None]:
    """No dropout, no gradient, the precision asked for; the model's mode is as before afterwards."""
    training = model.training
    model.eval()
    autocast = torch.autocast(context.device.type, dtype=torch.bfloat16, enabled=context.bf16)
    try:
        with torch.inference_mode(), autocast:
            yield
    finally:
        model.train(training)


def logits(
    model: nn.Module, split: Dataset, collate: Collate, context: EvaluationContext
) -> list[torch.Tensor]:
    """Each example's logits in fp32 on the CPU, in the split's order, without padding positions.

    A sequence head gives (labels,), a token head (T, labels) with T the example's own length.
    """
    lengths = [len(tokens) for tokens in split["input_ids"]]
    found: list[torch.Tensor | None] = [None] * len(split)
    with evaluation_mode(model, context):
        for positions in by_length(lengths, context.batch_size):
            batch = collate([split[position] for position in positions])
            inputs = {name: value.to(context.device) for name, value in batch.items() if name != "labels"}
            outputs = model(**inputs).logits.float().cpu()
            if outputs.dim() > 2:
                own = batch["attention_mask"].bool().cpu()
                outputs = [output[tokens] for output, tokens in zip(outputs, own, strict=True)]
            for position, output in zip(positions, outputs, strict=True):
                found[position] = output
    return [output for output in found if output is not None]
