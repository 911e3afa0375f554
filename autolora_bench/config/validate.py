"""Settings that are each of the right type but make no sense, alone or together."""

import math
import re

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.method import AutoLoraConfig, LoraConfig, RankedLoraConfig
from autolora_bench.config.model import ALL_LINEAR, ModelConfig
from autolora_bench.config.support import check_support
from autolora_bench.config.task import GenerationTask, TaggingTask
from autolora_bench.config.train import TrainConfig
from autolora_bench.config.validate_method import require, validate_method
from autolora_bench.config.validate_variant import validate_variant

TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")


def validate(experiment: ExperimentConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    _validate_data(experiment)
    _validate_train(experiment.train)
    require(0 <= experiment.seed < 2**32, f"seed={experiment.seed}", "say a seed from 0 to 4294967295")
    _validate_names(experiment)
    _validate_model(experiment.model)
    if isinstance(experiment.task, GenerationTask):
        _validate_decoding(experiment.task)
    if isinstance(experiment.task, TaggingTask):
        stride = experiment.task.stride
        require(stride >= 0, f"task.stride={stride}", "say 0 or more words")
    validate_method(experiment.method)
    check_support(experiment.method, experiment.task, experiment.model.architecture)
    if isinstance(experiment.method, LoraConfig | RankedLoraConfig | AutoLoraConfig):
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
    require(
        math.isfinite(decoding.length_penalty),
        f"task.decoding.length_penalty={decoding.length_penalty}",
        "say a number: 0 for none, more to favour long outputs",
    )
    require(task.epoch_records >= 1, f"task.epoch_records={task.epoch_records}", "say 1 or more")


def _validate_train(train: TrainConfig) -> None:
    require(0 < train.epochs < math.inf, f"train.epochs={train.epochs}", "say a number above 0")
    for name in ("weight_decay", "clip", "checkpoint_minutes"):
        value = getattr(train, name)
        require(0 <= value < math.inf, f"train.{name}={value}", "say 0 or more")
    smoothing = train.label_smoothing
    require(0 <= smoothing < 1, f"train.label_smoothing={smoothing}", "say a share from 0 to below 1")
    require(train.log_steps >= 1, f"train.log_steps={train.log_steps}", "say 1 or more")
    require(train.threads is None or train.threads >= 1, f"train.threads={train.threads}", "say 1 or more")
    unknown = sorted(set(train.trackers) - set(TRACKERS))
    require(not unknown, f"train.trackers={unknown} are not known", f"choose among: {', '.join(TRACKERS)}")
    require(
        train.max_steps is None or train.max_steps > 0, f"train.max_steps={train.max_steps}", "say 1 or more"
    )
    require(train.batch_size >= 1, f"train.batch_size={train.batch_size}", "say 1 or more")
    require(
        train.accumulation >= 1 and train.batch_size % train.accumulation == 0,
        f"train.accumulation={train.accumulation} does not divide train.batch_size={train.batch_size}",
        "say a divisor of the batch size",
    )
    require(train.evaluation_batch_size >= 1, "train.evaluation_batch_size is below 1", "say 1 or more")
    require(
        0 <= train.warmup < 1, f"train.warmup={train.warmup}", "say a share of the steps from 0 to below 1"
    )
