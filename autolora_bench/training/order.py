"""The order of training examples that are grouped by length, where several processes must agree on it."""

from typing import Any

from transformers.trainer_pt_utils import LengthGroupedSampler

from autolora_bench.search.validation import seeded


class SharedLengthGroupedSampler(LengthGroupedSampler):
    """LengthGroupedSampler whose order is a function of (seed, epoch), and not of what a process has drawn before.

    transformers' draws from the global generator, which is another one in every process: some examples would be seen
    twice in an epoch and others not at all.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch, that of a resumed training too."""
        self.generator = seeded(self.seed, epoch)
