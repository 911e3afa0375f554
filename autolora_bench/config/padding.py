"""Which runs can train without padding (`train.padding_free`)."""

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.model import Attention
from autolora_bench.config.registry import kind_of
from autolora_bench.config.support import UnsupportedError
from autolora_bench.config.task import RecoveryTask

ABLE = (
    *("bert", "distilbert", "electra", "gpt2", "llama", "mistral", "mpnet", "opt", "qwen2", "qwen3"),
    *("roberta", "xlm-roberta"),
)
"""Architectures that attend by a function of transformers' registry, and treat tokens one by one everywhere else."""


def check_padding_free(experiment: ExperimentConfig, architecture: str | None) -> None:
    """Raises UnsupportedError where train.padding_free=true cannot be; `architecture` is a model_type, if known."""
    if not experiment.train.padding_free:
        return
    model, method = experiment.model, experiment.method
    if architecture is not None and architecture not in ABLE:
        mend = f"leave it out, or choose a model among {', '.join(ABLE)}"
        _refuse(f"the architecture {architecture}", mend)
    if model.attention is not Attention.sdpa:
        asked = f"model.attention={model.attention.name} (model={model.name})"
        _refuse(asked, "leave it out, or say model.attention=sdpa")
    if isinstance(experiment.task, RecoveryTask):
        _refuse(
            f"task={experiment.task.name}, whose hidden states are compared token by token", "leave it out"
        )
    if experiment.train.gradient_checkpointing:
        again = "train.gradient_checkpointing=true, whose second pass through a block does not know its texts"
        _refuse(again, "leave one of them out")
    why = kind_of(method).works_on.needs_padding
    if why:
        _refuse(f"method={method.name}, {why}", "leave it out")


def _refuse(what: str, mend: str) -> None:
    raise UnsupportedError(f"train.padding_free=true does not work with {what}", mend)
