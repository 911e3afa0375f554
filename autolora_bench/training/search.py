"""The search as a metered training phase."""

from typing import Any

from torch import Tensor, nn

from autolora_bench.search import SearchTrainer
from autolora_bench.training.trainer import MeteredTrainer


class MeteredSearchTrainer(SearchTrainer, MeteredTrainer):
    """SearchTrainer that also counts the validation half's batches, and the operations of every pass of the estimator;
    its comparisons with the exact hypergradient are left out."""

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """One micro-batch; a loss that is no number stops the search."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.loss_watch.note(loss, self.state.global_step + 1)
        if self._step is not None:
            self.current_flos += round(self.hypergradient.extra_passes * self.floating_point_ops(inputs))
        return loss

    def after_weight_step(self) -> None:
        """Count the validation batch where the variables move."""
        if self._step is not None and self.outer_moves:
            batch: dict[str, Any] = self._step.validation
            self.count(batch)
            self.current_flos += self.floating_point_ops(batch)
        super().after_weight_step()
