"""Which runs can train without padding (`train.padding_free`)."""

from autolora_bench.config.architectures import Is, has, those
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.model import Attention
from autolora_bench.config.peft_support import padded_type
from autolora_bench.config.registry import kind_of
from autolora_bench.config.support import UnsupportedError
from autolora_bench.config.task import RecoveryTask


def check_padding_free(experiment: ExperimentConfig, architecture: str | None) -> None:
    """Raises UnsupportedError where train.padding_free=true cannot be; `architecture` is a model_type, if known."""
    needs = needs_padding(experiment, architecture) if experiment.train.padding_free is True else None
    if needs is not None:
        raise UnsupportedError(f"train.padding_free=true does not work with {needs[0]}", needs[1])


def needs_padding(experiment: ExperimentConfig, architecture: str | None) -> tuple[str, str] | None:
    """What of a run needs padding, and what to do about it; None where nothing does. `architecture` is a model_type,
    if known."""
    model, method = experiment.model, experiment.method
    if architecture is not None and not has(architecture, Is.unpadded):
        mend = f"leave it out, or choose a model among {', '.join(those(Is.unpadded))}"
        return f"the architecture {architecture}", mend
    if model.attention is not Attention.sdpa:
        asked = f"model.attention={model.attention.name} (model={model.name})"
        return asked, "leave it out, or say model.attention=sdpa"
    if isinstance(experiment.task, RecoveryTask):
        compared = f"task={experiment.task.name}, whose hidden states are compared token by token"
        return compared, "leave it out"
    if experiment.train.gradient_checkpointing:
        again = "train.gradient_checkpointing=true, whose second pass through a block does not know its texts"
        return again, "leave one of them out"
    if experiment.train.compile:
        return "train.compile=true, whose graphs do not know its texts", "leave one of them out"
    if experiment.train.fsdp:
        return "train.fsdp=true, for which it is not proved", "leave one of them out"
    why = kind_of(method).works_on.needs_padding
    if why:
        return f"method={method.name}, {why}", "leave it out"
    type_of_peft = padded_type(method)
    return (f"{type_of_peft} of PEFT", "leave it out") if type_of_peft else None
