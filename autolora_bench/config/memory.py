"""Which runs can do with less memory: `model.dtype`, `model.quantization`, `train.gradient_checkpointing`."""

from importlib.util import find_spec

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.config.architectures import ENCODER_DECODERS, Is, has, those
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.method import (
    AdaLoraConfig,
    AutoLoraConfig,
    BitFitConfig,
    FullConfig,
    HeadOnlyConfig,
    LoraConfig,
    MonarchConfig,
    RankedLoraConfig,
)
from autolora_bench.config.model import Dtype, Quantization
from autolora_bench.config.rates import LearnedRatesConfig
from autolora_bench.config.search import Estimator
from autolora_bench.config.support import refuse
from autolora_bench.config.task import RecoveryTask
from autolora_bench.config.variant import Start, VariantConfig
from autolora_bench.errors import UserError

FROZEN = (LoraConfig, RankedLoraConfig, AutoLoraConfig, AdaLoraConfig)
"""Methods that leave the pretrained weights alone, and compute nothing from them but the model's own passes."""
CHANGING = (FullConfig, BitFitConfig)
"""Methods that train pretrained weights."""
NAMES = "lora, adalora, autolora, and LoRA with ranks that are given or drawn"
PACKAGE = "bitsandbytes"
NOT_PROVED = "for which it is not proved"
RECOMPUTED = (*FROZEN, BitFitConfig, FullConfig, HeadOnlyConfig, MonarchConfig)
"""Methods that are proved to train the same with gradient checkpointing. A prefix would be forgotten on the way."""
AT_THE_WEIGHTS = (Estimator.closed_form, Estimator.first_order)
"""Estimators whose every pass is at the model's own weights, which a block that is computed again finds."""


def check_memory(experiment: ExperimentConfig, architecture: str | None) -> None:
    """Raises UserError where the asked way to save memory is not proved; `architecture` is a model_type, if known."""
    _check_storage(experiment, architecture)
    if experiment.train.gradient_checkpointing:
        _check_recomputed(experiment, architecture)


def check_package(experiment: ExperimentConfig) -> None:
    """Raises UserError where model.quantization needs a package that is not installed; imports none."""
    if experiment.model.quantization is Quantization.nf4 and find_spec(PACKAGE) is None:
        raise UserError(
            f"model.quantization=nf4 needs {PACKAGE}, which is not installed",
            "pip install 'autolora-bench[nf4]', or leave it out",
        )


def _check_recomputed(experiment: ExperimentConfig, architecture: str | None) -> None:
    asked, method = "train.gradient_checkpointing=true", experiment.method
    if architecture is not None and has(architecture, Is.never_recomputed):
        refuse(asked, f"the architecture {architecture}", "leave it out, or choose another model")
    if architecture in ENCODER_DECODERS:
        refuse(asked, f"a {architecture} model, an encoder-decoder")
    if not isinstance(method, RECOMPUTED):
        refuse(asked, f"method={method.name}, {NOT_PROVED}")
    if isinstance(method, LearnedRatesConfig) and method.rates.exact:
        refuse(
            asked,
            "method.rates.exact=true, which computes with other weights than the model's",
            "leave one of them out",
        )
    check_search(
        experiment,
        asked,
        "which computes with other weights than the model's",
        "which differentiates through a step and needs what checkpointing throws away",
    )


def check_search(experiment: ExperimentConfig, asked: str, why_estimator: str, why_exact: str) -> None:
    """Raises UserError where AutoLoRA's search passes at other weights than the model's, or differentiates twice."""
    if not isinstance(experiment.method, AutoLoraConfig):
        return
    search = experiment.method.search
    if search.estimator not in AT_THE_WEIGHTS:
        refuse(
            asked,
            f"method.search.estimator={search.estimator.name}, {why_estimator}",
            f"leave it out, or choose among: {', '.join(one.name for one in AT_THE_WEIGHTS)}",
        )
    if search.diagnose_steps:
        raise UserError(
            f"{asked} with method.search.diagnose_steps={search.diagnose_steps}, {why_exact}",
            "say method.search.diagnose_steps=[]",
        )


def check_variant(experiment: ExperimentConfig, asked: str, why_start: str, why: str, mend: str) -> None:
    """Raises UserError where LoRA has another start, DoRA's magnitudes, LoRA-Pro's steps or PEFT's further options."""
    variant = getattr(experiment.method, "variant", VariantConfig())
    if variant.start is not Start.lora:
        refuse(asked, f"method.variant.start={variant.start.value}, {why_start}", mend)
    for name in ("lora_pro", "dora", "options"):
        if getattr(variant, name):
            refuse(asked, f"method.variant.{name}, {why}", mend)


def _check_storage(experiment: ExperimentConfig, architecture: str | None) -> None:
    model = experiment.model
    if model.quantization is Quantization.nf4:
        asked = "model.quantization=nf4"
        _check(experiment, architecture, asked, "leave it out")
        if architecture is not None and not has(architecture, Is.nf4):
            refuse(asked, f"the architecture {architecture}", f"choose one of: {', '.join(those(Is.nf4))}")
    if model.dtype is not Dtype.fp32:
        asked, mend = f"model.dtype={model.dtype.name}", "say model.dtype=fp32"
        _check(experiment, architecture, asked, mend)
        if isinstance(experiment.method, AdaLoraConfig):
            refuse(
                asked, f"method={experiment.method.name}, whose triplets PEFT rounds to it as it prunes", mend
            )


def _check(experiment: ExperimentConfig, architecture: str | None, asked: str, mend: str) -> None:
    method = experiment.method
    if not isinstance(method, FROZEN):
        why = NOT_PROVED
        if isinstance(method, AllocatorConfig):
            why = "which reads ranks off weights or gradients"
        elif isinstance(method, CHANGING):
            why = "which changes the pretrained weights"
        refuse(asked, f"method={method.name}, {why}", f"{mend}, or choose a method of: {NAMES}")
    check_variant(
        experiment, asked, "which computes with full weights", "which is not proved on such weights", mend
    )
    if isinstance(experiment.task, RecoveryTask):
        refuse(asked, f"task={experiment.task.name}, whose truth is planted into the weights", mend)
    if architecture in ENCODER_DECODERS:
        refuse(asked, f"a {architecture} model, an encoder-decoder", mend)
