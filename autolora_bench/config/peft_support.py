"""What the types of PEFT work on, as far as it is known before PEFT itself is asked."""

from dataclasses import dataclass

from autolora_bench.config.architectures import DECODERS, ENCODER_DECODERS, ENCODERS, Is, those
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.method import MethodConfig
from autolora_bench.config.peft_method import PeftMethodConfig
from autolora_bench.config.registry import KINDS
from autolora_bench.config.support import ANSWERS, UnsupportedError
from autolora_bench.config.task import ClassificationTask, GenerationTask, RegressionTask, TaskConfig
from autolora_bench.errors import UserError

LABELLED = (ClassificationTask, RegressionTask)


@dataclass(frozen=True)
class Limit:
    """What some types are for."""

    types: tuple[str, ...]
    reason: str
    tasks: tuple[type[TaskConfig], ...] = tuple(KINDS)
    architectures: tuple[str, ...] | None = None
    """Of models; none: every one."""
    labels_on: tuple[str, ...] | None = None
    """Architectures for classification and regression, where they are fewer."""


LIMITS = (
    Limit(
        ("ADAPTION_PROMPT",),
        "its prompts are PEFT's, for language models, and have no place for a head",
        (GenerationTask,),
        ("gpt2", "llama", "mistral"),
    ),
    Limit(("CPT",), "its prompts are examples for a language model", (GenerationTask,)),
    Limit(("SHADOW",), "it looks for a decoder's list of layers", ANSWERS, DECODERS),
    Limit(
        ("CARTRIDGE", "PREFIX_TUNING"),
        "the model's attention takes no keys and values from before the input",
        ANSWERS,
        (*those(Is.remembering), *DECODERS, *ENCODER_DECODERS),
    ),
    Limit(
        ("PROMPT_TUNING", "P_TUNING"),
        "a decoder's classifier is not known to find the last token behind embeddings",
        ANSWERS,
        (*ENCODERS, *DECODERS, *ENCODER_DECODERS),
        (*ENCODERS, *ENCODER_DECODERS),
    ),
    Limit(
        ("MULTITASK_PROMPT_TUNING",),
        "a decoder's classifier is not known to find the last token behind embeddings, and PEFT gives the writing half "
        "of an encoder-decoder no tokens to go on from",
        ANSWERS,
        (*ENCODERS, *DECODERS),
        ENCODERS,
    ),
)
OWN_LOSS = ("CPT", "SHADOW")
"""Types whose model adds to its loss or makes it, for each micro-batch by itself."""
PADDED = (
    *("ADAPTION_PROMPT", "CARTRIDGE", "CPT", "PREFIX_TUNING", "SHADOW", "LILY", "POLY"),
    *("MULTITASK_PROMPT_TUNING", "PROMPT_TUNING", "PVERA", "P_TUNING"),
)
"""Types that are not proved to train without padding (tests/methods/test_peft_padding.py proves the others). LILY
averages over all tokens of a batch, padding included; POLY draws for every row, PVERA for every token."""
PADDED_OPTIONS = ("monteclora_config", "velora_config")
"""Options of LoRA that draw noise for every token, or treat tokens in groups."""


def check_peft(experiment: ExperimentConfig, architecture: str | None) -> None:
    """Raises UnsupportedError where the type does not work on the task, the model or a setting; `architecture` is a
    model_type, if known. Other methods pass."""
    method, task, train = experiment.method, experiment.task, experiment.train
    if not isinstance(method, PeftMethodConfig):
        return
    kind = str(method.type)
    for limit in LIMITS:
        if kind in limit.types:
            _check(kind, limit, task, architecture)
    if kind in OWN_LOSS and (train.label_smoothing or train.accumulation > 1):
        raise UserError(
            f"{kind} of PEFT puts a loss of its own into the model's, which train.label_smoothing would hide and "
            "train.accumulation count repeatedly",
            "leave both out",
        )


def padded_type(method: MethodConfig) -> str:
    """The type or option of PEFT that is not proved to train without padding; empty where there is none."""
    if not isinstance(method, PeftMethodConfig):
        return ""
    kind = str(method.type)
    return kind if kind in PADDED else next((name for name in PADDED_OPTIONS if name in method.settings), "")


def _check(kind: str, limit: Limit, task: TaskConfig, architecture: str | None) -> None:
    if not isinstance(task, limit.tasks):
        raise UnsupportedError(
            f"{kind} of PEFT does not work on {KINDS[type(task)]} (task={task.name}): {limit.reason}",
            f"it works on {', '.join(KINDS[one] for one in limit.tasks)}; choose another type or task",
        )
    labels = isinstance(task, LABELLED) and limit.labels_on is not None
    models = limit.labels_on if labels else limit.architectures
    if architecture is not None and models is not None and architecture not in models:
        raise UnsupportedError(
            f"{kind} of PEFT does not work on a {architecture} model for {KINDS[type(task)]}: {limit.reason}",
            f"it works on {', '.join(models)}; choose another type or model",
        )
