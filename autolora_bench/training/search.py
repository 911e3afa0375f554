"""Searches as metered training phases."""

from typing import Any

from torch import Tensor, nn

from autolora_bench.search import SearchTrainer
from autolora_bench.search.bilevel import BilevelTrainer
from autolora_bench.search.rate_trainer import RateTrainer
from autolora_bench.training.trainer import MeteredTrainer


class _Metered(BilevelTrainer, MeteredTrainer):
    """Counts the validation half's batches, and the operations of every pass; comparisons are left out."""

    validates: bool = True
    """Whether a pass over the validation batch is run where the outer variables move."""

    @property
    def extra_passes(self) -> float:
        """Over a training batch of an inner loop, beyond the weight step's own."""
        raise NotImplementedError

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """One micro-batch; a loss that is no number stops the search."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.loss_watch.note(loss, self.state.global_step + 1)
        if self._step is not None:
            self.current_flos += round(self.extra_passes * self.floating_point_ops(inputs))
        return loss

    def after_weight_step(self) -> None:
        """Count the validation batch where the outer variables move."""
        if self._step is not None and self.outer_moves and self.validates:
            batch: dict[str, Any] = self._step.validation
            self.count(batch)
            self.current_flos += self.floating_point_ops(batch)
        super().after_weight_step()


class MeteredSearchTrainer(SearchTrainer, _Metered):
    """SearchTrainer that counts."""

    @property
    def validates(self) -> bool:  # type: ignore[override]
        """Whether the estimator reads validation batches."""
        return self.hypergradient.validates

    @property
    def extra_passes(self) -> float:
        """See `Hypergradient.extra_passes`."""
        return self.hypergradient.extra_passes


class MeteredRateTrainer(RateTrainer, _Metered):
    """RateTrainer that counts."""

    @property
    def extra_passes(self) -> float:
        """A backward through the backward pass, where the Hessian is gone through."""
        return 1.0 if self.options.exact and self.options.inner_steps > 1 else 0.0
