"""Which runs can attend by a kernel that is named (`model.attention=flash_attention_2`)."""

from importlib.util import find_spec

from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.memory import AT_THE_WEIGHTS, FROZEN
from autolora_bench.config.method import AutoLoraConfig, BitFitConfig, FullConfig, HeadOnlyConfig
from autolora_bench.config.model import Attention, Dtype
from autolora_bench.config.support import UnsupportedError
from autolora_bench.config.task import GenerationTask, RecoveryTask
from autolora_bench.config.train import Precision
from autolora_bench.config.variant import Start, VariantConfig
from autolora_bench.errors import UserError

FLASH = "model.attention=flash_attention_2"
FLASH_PACKAGE = "flash_attn"
FLASH_ARCHITECTURES = (
    *("albert", "bert", "distilbert", "electra", "gemma", "gemma3_text", "gpt2", "gpt_neox", "llama"),
    *("mistral", "modernbert", "olmo2", "opt", "phi3", "qwen2", "qwen3", "roberta", "xlm-roberta"),
)
"""Architectures known here whose attention may be FlashAttention's (transformers 5.23)."""
PLAIN = (*FROZEN, BitFitConfig, FullConfig, HeadOnlyConfig)
"""Methods that are the model's own passes, each differentiated once, and nothing else."""


def check_computing(experiment: ExperimentConfig, architecture: str | None) -> None:
    """Raises UserError where the asked way to compute cannot be; `architecture` is a model_type, if known."""
    if experiment.model.attention is Attention.flash_attention_2:
        _check_flash(experiment, architecture)


def check_machine(experiment: ExperimentConfig) -> None:
    """Raises UserError where the asked way to compute needs what is not installed; imports nothing of it."""
    if experiment.model.attention is Attention.flash_attention_2 and find_spec(FLASH_PACKAGE) is None:
        raise UserError(
            f"{FLASH} needs {FLASH_PACKAGE}, which is not installed",
            "pip install flash-attn where there is an NVIDIA GPU, or leave it out",
        )


def _check_flash(experiment: ExperimentConfig, architecture: str | None) -> None:
    model, task = experiment.model, experiment.task
    if experiment.device not in ("auto", "cuda"):
        raise UserError(
            f"{FLASH} is for an NVIDIA GPU, not for device={experiment.device}",
            "say device=cuda, or leave it out",
        )
    if model.dtype is Dtype.fp32 and experiment.train.precision is Precision.fp32:
        raise UserError(
            f"{FLASH} computes in 16 bits, and model.dtype and train.precision are fp32",
            "say model.dtype=bf16 or train.precision=bf16, or leave it out",
        )
    if architecture is not None and architecture not in FLASH_ARCHITECTURES:
        _refuse(
            FLASH,
            f"the architecture {architecture}",
            f"leave it out, or choose one of: {', '.join(FLASH_ARCHITECTURES)}",
        )
    if isinstance(task, RecoveryTask):
        _refuse(FLASH, f"task={task.name}, which compares hidden states in single precision")
    if isinstance(task, GenerationTask):
        _refuse(FLASH, f"task={task.name}, whose beams have an attention of their own")
    _check_plain(experiment, FLASH, "which differentiates attention twice")


def _check_plain(experiment: ExperimentConfig, asked: str, why_not_exact: str) -> None:
    """Raises UserError where a run is more than passes at the model's own weights that are differentiated once."""
    method = experiment.method
    if not isinstance(method, PLAIN):
        _refuse(asked, f"method={method.name}, for which it is not proved")
    variant = getattr(method, "variant", VariantConfig())
    if variant.start is not Start.lora:
        _refuse(asked, f"method.variant.start={variant.start.value}, for which it is not proved")
    for name in ("lora_pro", "dora", "options"):
        if getattr(variant, name):
            _refuse(asked, f"method.variant.{name}, for which it is not proved")
    if not isinstance(method, AutoLoraConfig):
        return
    if method.search.estimator not in AT_THE_WEIGHTS:
        _refuse(
            asked,
            f"method.search.estimator={method.search.estimator.name}, for which it is not proved",
            f"leave it out, or choose among: {', '.join(one.name for one in AT_THE_WEIGHTS)}",
        )
    if method.search.diagnose_steps:
        raise UserError(
            f"{asked} with method.search.diagnose_steps={method.search.diagnose_steps}, {why_not_exact}",
            "say method.search.diagnose_steps=[]",
        )


def _refuse(asked: str, what: str, mend: str = "leave it out") -> None:
    raise UnsupportedError(f"{asked} does not work with {what}", mend)
