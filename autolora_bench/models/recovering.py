"""A model without a head whose loss is its distance from given hidden states.

Shapes: B batch, T tokens, D hidden size.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from autolora_bench.models.labels import IGNORED


@dataclass
class RecoveryOutput(ModelOutput):
    """Last hidden states (B, T, D), and the loss where there were labels."""

    loss: Tensor | None = None
    last_hidden_state: Tensor | None = None


class _Recovering:
    """Before a model's class: `forward` takes labels."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        variance: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **others: Any,
    ) -> RecoveryOutput:
        """Mean squared error over `variance`, in fp32.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T).
            token_type_ids: (B, T), for architectures that have them.
            labels: (B, T, D) hidden states of the teacher, IGNORED at padding.
            variance: (B,), all the same: what the error is divided by.
            num_items_in_batch: the Trainer's, which weighs micro-batches itself.
            others: of the model's own forward pass.
        """
        if token_type_ids is not None:
            others["token_type_ids"] = token_type_ids
        outputs: Any = super().forward(input_ids=input_ids, attention_mask=attention_mask, **others)  # type: ignore[misc]
        states: Tensor = outputs.last_hidden_state
        if labels is None:
            return RecoveryOutput(last_hidden_state=states)
        return RecoveryOutput(loss=_loss(states, labels, variance), last_hidden_state=states)


def _loss(states: Tensor, labels: Tensor, variance: Tensor | None) -> Tensor:
    counts = labels.ne(IGNORED)
    errors = torch.where(counts, states.float() - labels, 0.0)
    mean = errors.square().sum() / counts.sum().clamp_min(1)
    return mean if variance is None else mean / variance[0]


def recovering(model: PreTrainedModel) -> None:
    """Give a model without a head this loss, in place; its modules keep their names.

    A pooler is taken away: nothing reads it, and where the checkpoint has none it would be random. The model's own
    dropout is turned off: the teacher has none, and the student would be off by its noise.
    """
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # type: ignore[assignment]
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if ("drop" in name or isinstance(module, nn.Dropout)) and isinstance(value, float):
                setattr(module, name, 0.0)
    kind = type(model)
    model.__class__ = type(kind.__name__, (_Recovering, kind), {"__module__": kind.__module__})
