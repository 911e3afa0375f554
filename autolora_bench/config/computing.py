"""Which runs can attend by a kernel that is named (`model.attention=flash_attention_2`), train by torch.compile
(`train.compile`), or keep their frozen weights in parts (`train.fsdp`); and which compute slowly on this processor."""

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from autolora_bench.config.architectures import Is, has, those
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.memory import FROZEN, NOT_PROVED, check_search, check_variant
from autolora_bench.config.method import (
    BitFitConfig,
    FullConfig,
    HeadOnlyConfig,
    LoraConfig,
    RankedLoraConfig,
)
from autolora_bench.config.model import Attention, Dtype, Quantization
from autolora_bench.config.rates import LearnedRatesConfig
from autolora_bench.config.support import refuse
from autolora_bench.config.task import GenerationTask, RecoveryTask
from autolora_bench.config.train import Precision
from autolora_bench.errors import UserError
from autolora_bench.processes import world_size
from autolora_bench.provenance import why_bf16_is_slow

FLASH = "model.attention=flash_attention_2"
FLASH_PACKAGE = "flash_attn"
COMPILE = "train.compile=true"
FSDP = "train.fsdp=true"
PARTLY_FROZEN = (LoraConfig, RankedLoraConfig)
"""Methods that are proved to train the same with their frozen weights in parts."""
ELSEWHERE = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "parallelism of its own",
}
"""Variables by which accelerate trains otherwise than a run's configuration says."""
MIXED = "ACCELERATE_MIXED_PRECISION"
PLAIN = (*FROZEN, BitFitConfig, FullConfig, HeadOnlyConfig)
"""Methods that are the model's own passes, each differentiated once, and nothing else."""


def check_computing(experiment: ExperimentConfig, architecture: str | None) -> None:
    """Raises UserError where the asked way to compute cannot be; `architecture` is a model_type, if known."""
    if experiment.model.attention is Attention.flash_attention_2:
        _check_flash(experiment, architecture)
    if experiment.train.compile:
        _check_compiled(experiment, architecture)
    if experiment.train.fsdp:
        _check_sharded(experiment, architecture)


def check_machine(experiment: ExperimentConfig) -> None:
    """Raises UserError where the asked way to compute needs what is not installed; imports nothing of it."""
    if experiment.model.attention is Attention.flash_attention_2 and find_spec(FLASH_PACKAGE) is None:
        raise UserError(
            f"{FLASH} needs {FLASH_PACKAGE}, which is not installed",
            "pip install flash-attn where there is an NVIDIA GPU, or leave it out",
        )
    if not experiment.train.compile:
        return
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UserError(
            f"{COMPILE} needs a C++ compiler, and there is no {compiler}",
            "install g++, name another in the variable CXX, or leave it out",
        )
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        raise UserError(
            f"{COMPILE} needs Python's header files, and there is no Python.h",
            "install them (python3-dev, for instance), or leave it out",
        )


def check_accelerate(experiment: ExperimentConfig) -> None:
    """Raises UserError where accelerate's variables ask for what the run's settings do not say."""
    for name, what in ELSEWHERE.items():
        if os.environ.get(name, "false").lower() in ("true", "1", "yes"):
            raise UserError(
                f"{name}={os.environ[name]} asks accelerate for {what}, which a run does not know of",
                f"launch with torchrun, or accelerate launch --multi_gpu; {FSDP} keeps frozen weights in parts",
            )
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() not in ("", "no"):
        raise UserError(
            f"ACCELERATE_DYNAMO_BACKEND={os.environ['ACCELERATE_DYNAMO_BACKEND']} asks accelerate to compile, which a "
            "run does not know of",
            f"launch with --dynamo_backend no, and say {COMPILE}",
        )
    if (mixed := os.environ.get(MIXED, "no").lower()) not in ("", "no", experiment.train.precision.name):
        raise UserError(
            f"{MIXED}={mixed} asks accelerate to compute in {mixed}, and train.precision is "
            f"{experiment.train.precision.name}, which the record would say",
            "launch with --mixed_precision no, and say train.precision=bf16 where that is meant",
        )


def check_processes(experiment: ExperimentConfig) -> None:
    """Raises UserError where the run is not for as many processes as these."""
    if experiment.train.compile and world_size() > 1:
        raise UserError(
            f"{COMPILE} does not work with {world_size()} processes, for which it is not proved",
            "start one process, or leave it out",
        )
    if experiment.train.fsdp and world_size() == 1:
        raise UserError(
            f"{FSDP} is for several processes, and this is one",
            "start two or more with torchrun (docs/launchers.md), or leave it out",
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
    if architecture is not None and not has(architecture, Is.flash):
        refuse(
            FLASH,
            f"the architecture {architecture}",
            f"leave it out, or choose one of: {', '.join(those(Is.flash))}",
        )
    if isinstance(task, RecoveryTask):
        refuse(FLASH, f"task={task.name}, which compares hidden states in single precision")
    if isinstance(task, GenerationTask):
        refuse(FLASH, f"task={task.name}, whose beams have an attention of their own")
    _check_plain(experiment, FLASH, "which differentiates attention twice")


def _check_compiled(experiment: ExperimentConfig, architecture: str | None) -> None:
    model, train = experiment.model, experiment.train
    if experiment.device == "mps":
        refuse(
            COMPILE,
            f"device=mps, {NOT_PROVED}",
            "say device=cpu or device=cuda, or leave it out",
        )
    if architecture is not None and not has(architecture, Is.compiled):
        refuse(
            COMPILE,
            f"the architecture {architecture}",
            f"leave it out, or choose one of: {', '.join(those(Is.compiled))}",
        )
    if train.cpu_kernels is True:
        refuse(COMPILE, "train.cpu_kernels=true, whose kernels are its own", "leave one of them out")
    if train.gradient_checkpointing:
        refuse(COMPILE, f"train.gradient_checkpointing=true, {NOT_PROVED}", "leave one of them out")
    if model.attention is Attention.flash_attention_2:
        refuse(COMPILE, FLASH, "leave one of them out")
    if model.quantization is not Quantization.none:
        refuse(COMPILE, f"model.quantization={model.quantization.name}", "leave one of them out")
    if isinstance(experiment.task, RecoveryTask):
        refuse(COMPILE, f"task={experiment.task.name}, which plants and compares hidden states")
    _check_plain(experiment, COMPILE, "whose exact pass cannot repeat the dropout of a compiled one")


def _check_sharded(experiment: ExperimentConfig, architecture: str | None) -> None:
    model, method, train = experiment.model, experiment.method, experiment.train
    if architecture is not None and not has(architecture, Is.sharded):
        refuse(
            FSDP,
            f"the architecture {architecture}",
            f"leave it out, or choose one of: {', '.join(those(Is.sharded))}",
        )
    if isinstance(method, FullConfig):
        refuse(FSDP, f"method={method.name}, which freezes no weights")
    if not isinstance(method, PARTLY_FROZEN):
        refuse(FSDP, f"method={method.name}, {NOT_PROVED}")
    _check_method(experiment, FSDP)
    if isinstance(experiment.task, GenerationTask | RecoveryTask):
        refuse(FSDP, f"task={experiment.task.name}, {NOT_PROVED}")
    for name in ("compile", "gradient_checkpointing"):
        if getattr(train, name):
            refuse(FSDP, f"train.{name}=true, {NOT_PROVED}", "leave one of them out")
    if train.cpu_kernels is True:
        refuse(FSDP, "train.cpu_kernels=true, which keeps copies of whole weights", "leave one of them out")
    if model.quantization is not Quantization.none:
        refuse(FSDP, f"model.quantization={model.quantization.name}", "leave one of them out")


def _check_plain(experiment: ExperimentConfig, asked: str, why_not_exact: str) -> None:
    """Raises UserError where a run is more than passes at the model's own weights that are differentiated once."""
    _check_method(experiment, asked)
    check_search(experiment, asked, NOT_PROVED, why_not_exact)


def _check_method(experiment: ExperimentConfig, asked: str) -> None:
    method = experiment.method
    if not isinstance(method, PLAIN) or isinstance(method, LearnedRatesConfig):
        refuse(asked, f"method={method.name}, {NOT_PROVED}")
    check_variant(experiment, asked, NOT_PROVED, NOT_PROVED, "leave it out")


def slow_arithmetic(experiment: ExperimentConfig) -> str | None:
    """A line about a run on a CPU that asks for bfloat16 where the processor is faster without it; else None."""
    asked = {
        "train.precision=bf16": experiment.train.precision is Precision.bf16,
        "model.dtype=bf16": experiment.model.dtype is Dtype.bf16,
    }
    words = " and ".join(word for word, said in asked.items() if said)
    reason = why_bf16_is_slow() if words else None
    return f"{words}: {reason}" if reason else None
