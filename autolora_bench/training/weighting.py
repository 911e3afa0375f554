"""Losses of micro-batches and processes, weighted so that together they are the loss of the whole batch."""

from typing import Any

import torch
from torch import nn
from transformers import Trainer

from autolora_bench.backbone.labels import IGNORED


class WeightingTrainer(Trainer):
    """Weighs a micro-batch by its number of labels, where the model's own loss is a plain mean over them.

    transformers (5.23) neither divides by the number of micro-batches nor averages over processes once a model takes
    `num_items_in_batch`. Every model takes it, but only the losses of language models use it: a classifier's gradient
    would be as many times too large as there are micro-batches and processes.
    """

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The micro-batch's part of the batch's mean loss."""
        plain_mean = not self._loss_shifts_labels and self.label_smoother is None
        labels = inputs["labels"].ne(IGNORED).sum() if plain_mean and num_items_in_batch is not None else None
        found: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if labels is None:
            return found
        weight = labels / num_items_in_batch
        return (found[0] * weight, found[1]) if return_outputs else found * weight
