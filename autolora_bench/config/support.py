"""Which tasks and models each kind of method can be run on: stated here, checked before anything is trained."""

from dataclasses import dataclass

from autolora_bench.config.allocators import ALLOCATORS
from autolora_bench.config.method import (
    AdaLoraConfig,
    AdapterConfig,
    AutoLoraConfig,
    BitFitConfig,
    FullConfig,
    HeadOnlyConfig,
    LoraConfig,
    MethodConfig,
    PlantedRanksConfig,
    RankedLoraConfig,
)
from autolora_bench.config.peft_method import PeftMethodConfig
from autolora_bench.config.prompts import (
    IA3Config,
    LlamaAdapterConfig,
    PrefixConfig,
    PromptConfig,
    PTuningConfig,
)
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RecoveryTask,
    RegressionTask,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.errors import UserError

KINDS: dict[type[TaskConfig], str] = {
    ClassificationTask: "classification",
    RegressionTask: "regression",
    TaggingTask: "tagging",
    GenerationTask: "generation",
    RecoveryTask: "recovery",
}
"""Task kinds as they are spoken of."""


@dataclass(frozen=True)
class Support:
    """What a kind of method works on."""

    tasks: tuple[type[TaskConfig], ...] = tuple(KINDS)
    architectures: tuple[str, ...] | None = None
    """model_type of transformers' configurations; none: every architecture."""
    reason: str = ""
    """Why not the others, in a few words."""
    labels_on: tuple[str, ...] | None = None
    """Architectures for classification and regression, where they are fewer."""
    never_on: tuple[str, ...] = ()
    """Architectures it has nothing to do on, where it works on every other."""
    starts_unchanged: bool = True
    """Whether the model first puts out what the pretrained one does; if not, it does so without its virtual tokens."""

    def models(self, task: TaskConfig) -> tuple[str, ...] | None:
        """Architectures for a task; none: every one."""
        labels = isinstance(task, ClassificationTask | RegressionTask) and self.labels_on is not None
        return self.labels_on if labels else self.architectures

    def sentence(self) -> str:
        """What it works on, for a reader; empty where that is everything."""
        kinds = [] if set(self.tasks) == set(KINDS) else [KINDS[task] for task in self.tasks]
        labels = [f"labels on {', '.join(self.labels_on)}"] if self.labels_on else []
        never = [f"all but {', '.join(self.never_on)}"] if self.never_on else []
        parts = (kinds, self.architectures or (), labels, never)
        return "; ".join(", ".join(names) for names in parts if names)


EVERYTHING = Support()
ANSWERS = tuple(kind for kind in KINDS if kind is not RecoveryTask)
"""Tasks whose answers a head gives."""
NO_PROMPTS = "it compares hidden states with those of a teacher that has no prompts"
"""Why a recovery task takes no method that only answers."""
REMEMBERING = ("bert", "electra", "roberta", "xlm-roberta")
"""Encoders whose attention takes keys and values from before the input (transformers 5)."""
ENCODERS = (*REMEMBERING, "albert", "deberta-v2", "distilbert", "mpnet")
"""Architectures that read a whole input at once."""
DECODERS = ("gemma2", "gpt2", "llama", "mistral", "opt", "qwen2", "qwen3")
ADAPTED = (
    *REMEMBERING,
    *("deberta-v2", "gpt2", "llama", "mistral", "mpnet", "qwen2", "qwen3"),
)
UNBIASED = ("gemma2", "llama", "mistral", "qwen3")
"""Architectures whose layers and norms have no bias terms."""
PROMPTED = Support(
    ANSWERS,
    architectures=(*ENCODERS, *DECODERS),
    labels_on=ENCODERS,
    reason="it is not known to find the last token, which a decoder's classifier reads, behind embeddings",
    starts_unchanged=False,
)
SUPPORT: dict[type[MethodConfig], Support] = {
    FullConfig: EVERYTHING,
    AdapterConfig: Support(architectures=ADAPTED, reason="where its blocks take adapters is not known"),
    BitFitConfig: Support(never_on=UNBIASED, reason="it has no bias terms"),
    LoraConfig: EVERYTHING,
    RankedLoraConfig: EVERYTHING,
    PlantedRanksConfig: Support((RecoveryTask,), reason="only a planted truth is known"),
    AdaLoraConfig: EVERYTHING,
    AutoLoraConfig: EVERYTHING,
    PrefixConfig: Support(
        ANSWERS,
        architectures=(*REMEMBERING, *DECODERS),
        reason="its attention takes no keys and values from before the input",
        starts_unchanged=False,
    ),
    PromptConfig: PROMPTED,
    PTuningConfig: PROMPTED,
    LlamaAdapterConfig: Support(
        (GenerationTask,),
        ("llama", "mistral"),
        reason="its prompts are PEFT's, for Llama-like language models",
    ),
    IA3Config: Support(architectures=(*ENCODERS, *DECODERS)),
    HeadOnlyConfig: Support(
        (ClassificationTask, RegressionTask, TaggingTask), reason="a language model gets no new head"
    ),
    PeftMethodConfig: EVERYTHING,
    **dict.fromkeys(ALLOCATORS.values(), EVERYTHING),
}
"""Every kind of method states what it supports."""


class UnsupportedError(UserError):
    """A method or setting asked for on a task or model that it does not work on: a sweep leaves such a run out."""


def check_support(method: MethodConfig, task: TaskConfig, architecture: str | None) -> None:
    """Raises UnsupportedError where the method does not work on the task, or on the model where that is known."""
    check_task(method, task)
    if architecture is not None:
        check_architecture(method, architecture, task)


def check_task(method: MethodConfig, task: TaskConfig) -> None:
    """Raises UnsupportedError where the method does not work on this kind of task."""
    support = SUPPORT[type(method)]
    if not isinstance(task, support.tasks):
        because = f": {NO_PROMPTS}" if isinstance(task, RecoveryTask) else _because(support)
        raise UnsupportedError(
            f"method={method.name} does not work on {KINDS[type(task)]} (task={task.name}){because}",
            f"it works on {', '.join(KINDS[kind] for kind in support.tasks)}; choose another method or task",
        )


def check_architecture(method: MethodConfig, architecture: str, task: TaskConfig) -> None:
    """Raises UnsupportedError where the method does not work on this `model_type`, or not for this kind of task, and
    where the model itself cannot do the task."""
    support = SUPPORT[type(method)]
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
    if isinstance(task, GenerationTask) and architecture in ENCODERS:
        raise UnsupportedError(
            f"task={task.name} is to write text, and a {architecture} model is an encoder, which cannot",
            f"choose a language model, such as {', '.join(DECODERS)}",
        )


def _because(support: Support) -> str:
    return f": {support.reason}" if support.reason else ""
