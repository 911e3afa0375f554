"""Gradients on a few training batches before anything is trained: what starts and one-pass allocators look at.

Shapes: D inputs, O outputs of a layer.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.pytorch_utils import Conv1D

from autolora_bench.methods.base import PhaseContext
from autolora_bench.models.load import Backbone, HeadKind
from autolora_bench.training.weighting import counted, smoothed_loss

Loss = Callable[[nn.Module, dict[str, Tensor]], Tensor]
"""Model and batch -> mean loss of the batch."""


class Batches:
    """Training batches on the run's device, in an order drawn from its seed; counts what was read."""

    def __init__(self, context: PhaseContext) -> None:
        self.context = context
        self.examples: int | None = None
        self.tokens: int | None = None

    def loader(self, size: int, limit: int | None = None) -> DataLoader[Any]:
        """At most `limit` training examples in batches of `size`."""
        context = self.context
        train = context.splits.train
        order = torch.randperm(
            len(train), generator=torch.Generator().manual_seed(context.experiment.seed)
        ).tolist()
        collate = context.task.collator(context.tokenizer)
        return DataLoader(
            train.select(order[:limit]), batch_size=size, collate_fn=lambda examples: dict(collate(examples))
        )

    def whole(
        self, count: int, accumulation: int | None = None
    ) -> Iterator[list[tuple[dict[str, Tensor], float]]]:
        """At most `count` batches of the run's size, each as its micro-batches with their shares of its labels.

        Args:
            count: how many; fewer where the data end before.
            accumulation: micro-batches per batch; none takes the run's.
        """
        train = self.context.experiment.train
        parts = accumulation or train.accumulation
        loader = self.loader(train.batch_size // parts, count * train.batch_size)
        rest = iter(loader)
        for _ in range(math.ceil(len(loader) / parts)):
            yield self.shares(list(islice(rest, parts)))

    def shares(self, pieces: Sequence[dict[str, Tensor]]) -> list[tuple[dict[str, Tensor], float]]:
        """Parts of a batch with their shares of its labels; so weighted, their mean losses add up to its own."""
        labels = [int(counted(piece["labels"])) for piece in pieces]
        return [
            (self.counted(piece), number / max(1, sum(labels)))
            for piece, number in zip(pieces, labels, strict=True)
            if number
        ]

    def counted(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch on the device."""
        self.examples = (self.examples or 0) + batch["input_ids"].shape[0]
        self.tokens = (self.tokens or 0) + batch["input_ids"].numel()
        return {name: tensor.to(self.context.device) for name, tensor in batch.items()}


def mean_loss(context: PhaseContext) -> Loss:
    """What the run's training minimises: the model's own loss, or the smoothed one."""
    smoothing = context.experiment.train.label_smoothing
    next_tokens = context.task.head().kind is HeadKind.language_model

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        outputs = model(**batch)
        own: Tensor = outputs.loss
        return (
            smoothed_loss(outputs, batch["labels"], next_tokens=next_tokens, smoothing=smoothing)
            if smoothing
            else own
        )

    return loss


def weight_gradients(
    model: nn.Module, names: list[str], weighted: Iterable[tuple[dict[str, Tensor], float]], loss: Loss
) -> dict[str, Tensor]:
    """Layer -> gradient (O, D) of the weighted sum of losses, in training mode as the authors' code has it."""
    layers: dict[str, Any] = {name: model.get_submodule(name) for name in names}
    model.requires_grad_(False)
    for layer in layers.values():
        layer.weight.requires_grad_(True)
    model.train()
    for batch, weight in weighted:
        torch.autograd.backward(loss(model, batch) * weight)
    gradients = {name: layer.weight.grad for name, layer in layers.items()}
    return {name: g.T if isinstance(layers[name], Conv1D) else g for name, g in gradients.items()}


def mean_gradients(
    backbone: Backbone,
    context: PhaseContext,
    names: list[str],
    batches: Batches,
    count: int,
    accumulation: int | None = None,
) -> dict[str, Tensor]:
    """Layer -> gradient (O, D) of the mean loss with respect to its pretrained weight, in training mode.

    Args:
        backbone: the fresh model, moved to the run's device.
        context: the run.
        names: the layers.
        batches: the training data.
        count: how many batches of the run's size are read; fewer where the data end before.
        accumulation: micro-batches per batch; none takes the run's.
    """
    size = context.experiment.train.batch_size
    read = math.ceil(min(count * size, len(context.splits.train)) / size)
    weighted = (
        (piece, share / read) for pieces in batches.whole(count, accumulation) for piece, share in pieces
    )
    model = backbone.model.to(context.device)  # type: ignore[arg-type]
    return weight_gradients(model, names, weighted, mean_loss(context))
