"""Settings of training that make no sense together."""

from autolora_bench.config.trackers import TRACKERS
from autolora_bench.config.train import TrainConfig
from autolora_bench.errors import require


def validate_train(train: TrainConfig) -> None:
    """Raises UserError at the first setting that cannot be."""
    unknown = sorted(set(train.trackers) - set(TRACKERS))
    require(not unknown, f"train.trackers={unknown} are not known", f"choose among: {', '.join(TRACKERS)}")
    require(
        train.batch_size % train.accumulation == 0,
        f"train.accumulation={train.accumulation} does not divide train.batch_size={train.batch_size}",
        "say a divisor of the batch size",
    )
