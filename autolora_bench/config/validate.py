"""Settings that are each of the right type but make no sense, alone or together."""

import re

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.config.bounds import require, seed
from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.finite import check_finite
from autolora_bench.config.method import AutoLoraConfig, LoraConfig, RankedLoraConfig
from autolora_bench.config.model import ALL_LINEAR, ModelConfig
from autolora_bench.config.padding import check_padding_free
from autolora_bench.config.support import check_support
from autolora_bench.config.task import GenerationTask, RegressionTask, TaggingTask
from autolora_bench.config.validate_method import validate_method
from autolora_bench.config.validate_train import validate_train
from autolora_bench.config.validate_variant import validate_variant


def validate(experiment: ExperimentConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    check_finite(experiment)
    _validate_data(experiment)
    validate_train(experiment.train)
    seed(experiment.seed, "seed")
    _validate_names(experiment)
    require(
        not experiment.train.cpu_kernels or experiment.device in ("auto", "cpu"),
        f"train.cpu_kernels=true is for a CPU, not for device={experiment.device}",
        "say device=cpu, or leave train.cpu_kernels out",
    )
    require(
        len(experiment.task.evaluation) > 0,
        "task.evaluation=[] leaves nothing to choose the best epoch by",
        "name a split, as in task.evaluation=[validation]",
    )
    _validate_model(experiment.model)
    smoothing = experiment.train.label_smoothing
    require(
        smoothing == 0 or not isinstance(experiment.task, RegressionTask),
        f"train.label_smoothing={smoothing:g} with task={experiment.task.name}, which has no labels to smooth",
        "say train.label_smoothing=0",
    )
    if isinstance(experiment.task, GenerationTask):
        _validate_decoding(experiment.task)
    if isinstance(experiment.task, TaggingTask):
        stride = experiment.task.stride
        require(stride >= 0, f"task.stride={stride}", "say 0 or more words")
    validate_method(experiment.method)
    check_support(experiment.method, experiment.task, experiment.model.architecture)
    check_padding_free(experiment, experiment.model.architecture)
    if isinstance(experiment.method, LoraConfig | RankedLoraConfig | AutoLoraConfig | AllocatorConfig):
        validate_variant(experiment.method.variant)
    if isinstance(experiment.method, AutoLoraConfig):
        size, parts = experiment.method.search.batch_size, experiment.train.accumulation
        require(
            size % parts == 0,
            f"train.accumulation={parts} does not divide method.search.batch_size={size}",
            "say a divisor of the batch size",
        )


def _validate_model(model: ModelConfig) -> None:
    """A record must not carry the name of one model and the weights of another."""
    require(
        model.checkpoint is None or (model.hub is None and model.package is None),
        f"model={model.name} has weights of its own, model.checkpoint={model.checkpoint} names others",
        f"say model=any model.checkpoint={model.checkpoint}",
    )
    targets = model.targets or []
    require(
        ALL_LINEAR not in targets or len(targets) == 1,
        f"model.targets=[{','.join(targets)}] names layers beside {ALL_LINEAR}",
        f"say model.targets=[{ALL_LINEAR}] alone, or names alone",
    )


def _validate_names(experiment: ExperimentConfig) -> None:
    """Names become folders: none may lead out of the results folder."""
    for group in ("task", "model", "method"):
        name = getattr(experiment, group).name
        require(
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None,
            f"{group}.name={name} cannot be a folder's name",
            "say letters, digits, dots, dashes and underscores, the first a letter or digit",
        )


def _validate_data(experiment: ExperimentConfig) -> None:
    data, task = experiment.data, experiment.task
    require(
        data.source is not Source.local or data.dir is not None,
        "data=local needs data.dir",
        "say data.dir=FOLDER with the publishers' files (README: Data), or data=generated",
    )
    require(
        getattr(task, data.source.name) is not None,
        f"task={task.name} says nothing of data={data.source.name}",
        f"add a `{data.source.name}:` section to its YAML, or choose another data",
    )
    require(task.max_length >= 1, f"task.max_length={task.max_length}", "say 1 or more")
    require(
        bool(task.metrics), "task.metrics is empty", "name at least one: the first chooses the best epoch"
    )
    for name in ("limit", "limit_evaluation"):
        value = getattr(data, name)
        require(value is None or value >= 1, f"data.{name}={value}", "say 1 or more")


def _validate_decoding(task: GenerationTask) -> None:
    decoding = task.decoding
    for name in ("beams", "max_new_tokens", "batch_size"):
        value = getattr(decoding, name)
        require(value >= 1, f"task.decoding.{name}={value}", "say 1 or more")
    size = decoding.no_repeat_ngram
    require(size >= 0, f"task.decoding.no_repeat_ngram={size}", "say 0 to allow every n-gram, or 1 or more")
    require(task.epoch_records >= 1, f"task.epoch_records={task.epoch_records}", "say 1 or more")
