"""Settings that are each of the right type but make no sense, alone or together."""

from autolora_bench.config.data import Source
from autolora_bench.config.experiment import ExperimentConfig
from autolora_bench.config.method import AutoLoraConfig, LoraConfig, Rule, SearchConfig
from autolora_bench.config.train import TrainConfig
from autolora_bench.errors import UserError


def validate(experiment: ExperimentConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    _validate_data(experiment)
    _validate_train(experiment.train)
    _require(experiment.seed >= 0, f"seed={experiment.seed}", "say a seed of 0 or more")
    method = experiment.method
    _require(
        method.learning_rate > 0,
        f"method.learning_rate={method.learning_rate}",
        "say a learning rate above 0",
    )
    if isinstance(method, LoraConfig):
        _require(method.rank >= 1, f"method.rank={method.rank}", "say a rank of 1 or more")
    if isinstance(method, LoraConfig | AutoLoraConfig):
        _require(
            0 <= method.dropout < 1, f"method.dropout={method.dropout}", "say a dropout from 0 to below 1"
        )
    if isinstance(method, AutoLoraConfig):
        _validate_search(method.search)


def _validate_data(experiment: ExperimentConfig) -> None:
    data, task = experiment.data, experiment.task
    _require(
        data.source is not Source.local or data.dir is not None,
        "data=local needs data.dir",
        "say data.dir=FOLDER with the publishers' files (README: Data), or data=generated",
    )
    _require(
        getattr(task, data.source.name) is not None,
        f"task={task.name} says nothing of data={data.source.name}",
        f"add a `{data.source.name}:` section to its YAML, or choose another data",
    )
    for name in ("limit", "limit_evaluation"):
        value = getattr(data, name)
        _require(value is None or value >= 1, f"data.{name}={value}", "say 1 or more")


def _validate_train(train: TrainConfig) -> None:
    _require(train.epochs > 0, f"train.epochs={train.epochs}", "say a number above 0")
    _require(
        train.max_steps is None or train.max_steps > 0, f"train.max_steps={train.max_steps}", "say 1 or more"
    )
    _require(train.batch_size >= 1, f"train.batch_size={train.batch_size}", "say 1 or more")
    _require(
        train.accumulation >= 1 and train.batch_size % train.accumulation == 0,
        f"train.accumulation={train.accumulation} does not divide train.batch_size={train.batch_size}",
        "say a divisor of the batch size",
    )
    _require(train.evaluation_batch_size >= 1, "train.evaluation_batch_size is below 1", "say 1 or more")
    _require(
        0 <= train.warmup < 1, f"train.warmup={train.warmup}", "say a share of the steps from 0 to below 1"
    )


def _validate_search(search: SearchConfig) -> None:
    _require(search.components >= 1, f"method.search.components={search.components}", "say 1 or more")
    _require(
        0 < search.train_share < 1,
        f"method.search.train_share={search.train_share}",
        "say a share between 0 and 1: the rest of the training set trains the selection variables",
    )
    _require(search.interval >= 1, f"method.search.interval={search.interval}", "say 1 or more")
    _require(search.batch_size >= 1, f"method.search.batch_size={search.batch_size}", "say 1 or more")
    for rule, name in ((Rule.threshold, "threshold"), (Rule.budget, "budget")):
        given = getattr(search, name) is not None
        _require(
            (search.rule is rule) == given,
            f"method.search.rule={search.rule.name} with method.search.{name}={getattr(search, name)}",
            f"rule={rule.name} and {name}=NUMBER go together",
        )


def _require(holds: bool, what: str, mend: str) -> None:
    if not holds:
        raise UserError(what, mend)
