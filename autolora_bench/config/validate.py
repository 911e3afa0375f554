"""Settings that are each of the right type but make no sense, alone or together."""

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.method import AutoLoraConfig
from autolora_bench.config.task import GenerationTask
from autolora_bench.config.train import TrainConfig
from autolora_bench.config.validate_method import require, validate_method


def validate(experiment: ExperimentConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    _validate_data(experiment)
    _validate_train(experiment.train)
    require(experiment.seed >= 0, f"seed={experiment.seed}", "say a seed of 0 or more")
    if isinstance(experiment.task, GenerationTask):
        _validate_decoding(experiment.task)
    validate_method(experiment.method)
    if isinstance(experiment.method, AutoLoraConfig):
        size, parts = experiment.method.search.batch_size, experiment.train.accumulation
        require(
            size % parts == 0,
            f"train.accumulation={parts} does not divide method.search.batch_size={size}",
            "say a divisor of the batch size",
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


def _validate_train(train: TrainConfig) -> None:
    require(train.epochs > 0, f"train.epochs={train.epochs}", "say a number above 0")
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
