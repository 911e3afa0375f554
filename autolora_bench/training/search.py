"""The search as a metered training phase."""

from typing import Any

from autolora_bench.search import SearchTrainer
from autolora_bench.training.trainer import MeteredTrainer


class MeteredSearchTrainer(SearchTrainer, MeteredTrainer):
    """SearchTrainer that also counts the validation half's batches and their floating-point operations."""

    def selection_step(self) -> None:
        """Count the validation batch, then move the selection variables."""
        if self._step is not None:
            batch: dict[str, Any] = self._step.validation
            self.count(batch)
            self.current_flos += self.floating_point_ops(batch)
        super().selection_step()
