"""Where a forward pass enters a model, and on which side of a text its padding may be."""

from torch import nn
from transformers import PreTrainedModel

from autolora_bench.config.support import DECODERS


def transformer(model: nn.Module) -> PreTrainedModel:
    """The model of transformers, task's head included, that `model` is or has within."""
    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))


def may_pad_in_front(model: nn.Module) -> bool:
    """Whether nothing reads a batch's first column where that is padding: the classifier of an encoder does."""
    return transformer(model).config.model_type in DECODERS


def entries(model: nn.Module) -> list[nn.Module]:
    """`model`, and within it every model of transformers, the outer ones first.

    Some of PEFT's models call the `forward` of the model within, past its hooks; others change a batch before they do.
    """
    return [model, *(m for m in model.modules() if isinstance(m, PreTrainedModel) and m is not model)]
