"""Losses of micro-batches and processes, weighted so that together they are the whole batch's; label smoothing.

Shapes: B rows, T tokens, C classes.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Trainer

from autolora_bench.config.task import IGNORED


class WeightingTrainer(Trainer):
    """Weighs a micro-batch by its number of labels, where the model's own loss is a plain mean over them.

    transformers (5.23) neither divides by the number of micro-batches nor averages over processes once a model takes
    `num_items_in_batch`. Every model takes it, but only the losses of language models use it: a classifier's gradient
    would be as many times too large as there are micro-batches and processes.

    What transformers reads off the names of classes is told here: it takes GPT-2 for a model whose labels are not the
    next tokens, and finds no class at all behind PEFT's virtual tokens.

    Args:
        next_tokens: a token's label is the token after it, as for language models.
        label_smoothing: share of a label that is spread over all classes; for labels that are classes.
    """

    def __init__(
        self, *args: Any, next_tokens: bool = False, label_smoothing: float = 0.0, **options: Any
    ) -> None:
        if label_smoothing:
            options["compute_loss_func"] = partial(
                smoothed_loss, next_tokens=next_tokens, smoothing=label_smoothing
            )
        super().__init__(*args, **options)
        self._loss_shifts_labels = next_tokens

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The micro-batch's part of the batch's mean loss."""
        plain_mean = not self._loss_shifts_labels and self.compute_loss_func is None
        found: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not plain_mean or num_items_in_batch is None:
            return found
        weight = counted(inputs["labels"]) / num_items_in_batch
        return (found[0] * weight, found[1]) if return_outputs else found * weight

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, Any]], device: torch.device
    ) -> Tensor | int | None:
        """transformers takes a number that is to be predicted for no label where it is IGNORED."""
        if batch_samples and are_numbers(batch_samples[0].get("labels")):
            batch_samples = [
                {**batch, "labels": torch.zeros_like(batch["labels"])} for batch in batch_samples
            ]
        found: Tensor | int | None = super()._get_num_items_in_batch(batch_samples, device)
        return found


def are_numbers(labels: Any) -> bool:
    """Whether labels are one number to be predicted for each row (B,), any of which counts."""
    return isinstance(labels, Tensor) and labels.ndim == 1 and labels.is_floating_point()


def counted(labels: Tensor) -> Tensor:
    """How many labels a mean loss is over: those that are not IGNORED, and of numbers all."""
    return torch.tensor(len(labels)) if are_numbers(labels) else labels.ne(IGNORED).sum()


def smoothed_loss(
    outputs: Any,
    labels: Tensor,
    num_items_in_batch: Tensor | int | None = None,
    *,
    next_tokens: bool,
    smoothing: float,
) -> Tensor:
    """(1 - smoothing) x cross-entropy + smoothing x mean over the classes of -log p (Szegedy et al., 2016, section 7).

    Args:
        outputs: of the model; logits (B, C), or (B, T, C) of the batch's own tokens.
        labels: (B,) or (B, T); IGNORED counts for nothing.
        num_items_in_batch: labels that the sum of losses is divided by; none means those given here.
        next_tokens: the label of token t is that of position t + 1.
        smoothing: from 0 to below 1.
    """
    logits = outputs.logits.float()
    if next_tokens:
        logits, labels = logits[:, :-1], labels[:, 1:]
    items = labels.ne(IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    total = functional.cross_entropy(
        logits.flatten(0, -2),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=smoothing,
        reduction="sum",
    )
    loss: Tensor = total / items
    return loss
