"""Which tasks and models each kind of method can be run on: checked before anything is trained."""

from typing import NoReturn

from autolora_bench.config.architectures import DECODERS, ENCODER_DECODERS, ENCODERS
from autolora_bench.config.registry import KINDS, MethodConfig, Support, kind_of
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RecoveryTask,
    RegressionTask,
    TaskConfig,
)
from autolora_bench.errors import UserError

ANSWERS = tuple(kind for kind in KINDS if kind is not RecoveryTask)
"""Tasks whose answers a head gives."""
WRITTEN = (ClassificationTask, RegressionTask, GenerationTask)
"""Tasks whose answers may be written: texts, or the names of labels."""


class UnsupportedError(UserError):
    """A method or setting asked for on a task or model that it does not work on: a sweep leaves such a run out."""


def refuse(asked: str, what: str, mend: str = "leave it out") -> NoReturn:
    """Raises UnsupportedError: what is asked for does not work with something else that is.

    Args:
        asked: the word that asks for it.
        what: what it does not work with, and why where that is not plain.
        mend: what to type instead.
    """
    raise UnsupportedError(f"{asked} does not work with {what}", mend)


def check_support(method: MethodConfig, task: TaskConfig, architecture: str | None) -> None:
    """Raises UnsupportedError where the method does not work on the task, or on the model where that is known."""
    check_task(method, task)
    if architecture is not None:
        check_architecture(method, architecture, task)


def check_task(method: MethodConfig, task: TaskConfig) -> None:
    """Raises UnsupportedError where the method does not work on this kind of task."""
    support = kind_of(method).works_on
    if not isinstance(task, support.tasks):
        because = f": {support.no_recovery}" if isinstance(task, RecoveryTask) else _because(support)
        raise UnsupportedError(
            f"method={method.name} does not work on {KINDS[type(task)]} (task={task.name}){because}",
            f"it works on {', '.join(KINDS[kind] for kind in support.tasks)}; choose another method or task",
        )


def check_architecture(method: MethodConfig, architecture: str, task: TaskConfig) -> None:
    """Raises UnsupportedError where the method does not work on this `model_type`, or not for this kind of task, and
    where the model itself cannot do the task."""
    support = kind_of(method).works_on
    models = support.models(task)
    if models is not None and architecture not in models:
        raise UnsupportedError(
            f"method={method.name} does not work on a {architecture} model for {KINDS[type(task)]}{_because(support)}",
            f"it works on {', '.join(models)}; choose another method or model",
        )
    if architecture in support.never_on:
        raise UnsupportedError(
            f"method={method.name} does not work on a {architecture} model{_because(support)}",
            "choose another method or model",
        )
    if architecture in ENCODER_DECODERS:
        _check_encoder_decoder(method, support, task, architecture)
    if isinstance(task, GenerationTask) and architecture in ENCODERS:
        raise UnsupportedError(
            f"task={task.name} is to write text, and a {architecture} model is an encoder, which cannot",
            f"choose a language model, such as {', '.join(DECODERS)}",
        )


def check_halves(architecture: str, encoder_decoder: bool) -> None:
    """Raises UnsupportedError for an encoder-decoder that is not known here."""
    if encoder_decoder and architecture not in ENCODER_DECODERS:
        raise UnsupportedError(
            f"a {architecture} model is an encoder-decoder of a kind that is not known here",
            f"choose one of: {', '.join(ENCODER_DECODERS)}, or another language model",
        )


def _check_encoder_decoder(
    method: MethodConfig, support: Support, task: TaskConfig, architecture: str
) -> None:
    if not isinstance(task, WRITTEN):
        raise UnsupportedError(
            f"a {architecture} model is an encoder-decoder, whose answers are texts, and task={task.name} is "
            f"{KINDS[type(task)]}",
            "choose an encoder, such as roberta_base, or a task such as sst2, stsb or e2e",
        )
    start = getattr(getattr(method, "variant", None), "start", "lora")
    if not support.encoder_decoders or start != "lora":
        what = method.name if start == "lora" else f"{method.name} with method.variant.start={start}"
        raise UnsupportedError(
            f"method={what} is not proved on an encoder-decoder, which a {architecture} model is",
            "choose full, lora, adalora, autolora or a control of it, ia3, a method of prompts, peft, or another "
            "language model",
        )


def _because(support: Support) -> str:
    return f": {support.reason}" if support.reason else ""
