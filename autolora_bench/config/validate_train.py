"""Settings of training that make no sense, alone or together: the run's, and those that a search has of its own."""

from autolora_bench.config.bounds import at_least, positive, require, share
from autolora_bench.config.search import SearchConfig
from autolora_bench.config.train import TrainConfig

TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")


def validate_train(train: TrainConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    validate_phase(train, "train")
    at_least(train, "checkpoint_minutes", 0, "train")
    share(train, "label_smoothing", "train")
    positive(train, "head_learning_rate", "train")
    for name in ("log_steps", "threads", "evaluation_batch_size"):
        at_least(train, name, 1, "train")
    unknown = sorted(set(train.trackers) - set(TRACKERS))
    require(not unknown, f"train.trackers={unknown} are not known", f"choose among: {', '.join(TRACKERS)}")
    require(
        train.accumulation >= 1 and train.batch_size % train.accumulation == 0,
        f"train.accumulation={train.accumulation} does not divide train.batch_size={train.batch_size}",
        "say a divisor of the batch size",
    )


def validate_phase(settings: TrainConfig | SearchConfig, path: str) -> None:
    """Raises UserError at the first setting that no training can have."""
    positive(settings, "epochs", path)
    for name in ("max_steps", "batch_size"):
        at_least(settings, name, 1, path)
    for name in ("weight_decay", "clip"):
        at_least(settings, name, 0, path)
    require(
        0 <= settings.warmup < 1,
        f"{path}.warmup={settings.warmup}",
        "say a share of the steps from 0 to below 1",
    )
