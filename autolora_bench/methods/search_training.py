"""What the phases share that train in order to choose: AutoLoRA's search, that of learning rates, an allocator's own.

Each is a metered training phase with a Trainer of its own. What that is given beside the model and the data, and what
the record takes from its counters, is the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PrinterCallback

from autolora_bench.config.train import TrainConfig
from autolora_bench.methods.base import PhaseContext, PhaseResult
from autolora_bench.models.load import HeadKind
from autolora_bench.processes import world_size
from autolora_bench.search import SearchTrainer
from autolora_bench.search.bilevel import BilevelTrainer
from autolora_bench.search.rate_trainer import RateTrainer
from autolora_bench.speedups.applied import sped_up
from autolora_bench.training.checkpoints import CheckpointPolicy, train_or_resume
from autolora_bench.training.progress import ProgressDisplay
from autolora_bench.training.trainer import MeteredTrainer
from autolora_bench.training.weight_groups import head_rate


def shared_arguments(
    phase: str, context: PhaseContext, train: TrainConfig, head_modules: Sequence[str]
) -> dict[str, Any]:
    """Arguments of the phase's MeteredTrainer: batches, callbacks, and how a loss is computed.

    Args:
        phase: its name, for progress and trackers.
        context: of the run.
        train: the phase's own training settings.
        head_modules: the head's modules, which have a learning rate of their own where `train` says so.
    """
    return {
        "data_collator": context.task.collator(context.tokenizer),
        "callbacks": [
            CheckpointPolicy(train.checkpoint_minutes, context.identity, context.saved),
            ProgressDisplay(phase),
            context.trackers.callback(phase),
        ],
        "padding_free": train.padding_free is True,
        "head_rate": head_rate(train, head_modules),
        "next_tokens": context.task.head().kind is HeadKind.language_model,
        "label_smoothing": train.label_smoothing,
    }


def validation_batch(asked: int | None, batch_size: int, context: PhaseContext) -> int:
    """Examples of a validation batch in this process: those asked for, else a training micro-batch as the run has it.

    Where memory ran out and micro-batches became smaller it stays what it was, as the numbers depend on it.
    """
    return asked or batch_size // (context.experiment.train.accumulation * world_size())


def train_search(trainer: MeteredTrainer, context: PhaseContext, train: TrainConfig) -> None:
    """Train to the end, computing as the run does. Raises Interrupted as `train_or_resume`."""
    trainer.remove_callback(PrinterCallback)
    with sped_up(trainer.trained, train):
        train_or_resume(trainer, context.identity)


def measured(
    trainer: MeteredTrainer, artefact: str, source: dict[str, Any], details: Mapping[str, Any]
) -> PhaseResult:
    """The phase's result: the trainer's seconds, steps, examples, tokens and operations."""
    meter = trainer.meter
    return PhaseResult(
        artefact=artefact,
        train_seconds=meter.seconds,
        train_cpu_seconds=meter.cpu_seconds,
        steps=trainer.state.global_step,
        examples=meter.examples,
        tokens=meter.tokens,
        flops=float(trainer.state.total_flos),
        details=dict(details),
        source=source,
    )


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
        if self._step is not None:  # an inner loop's own pass: MeteredTrainer has not seen it
            self.loss_watch.note(loss, self.state.global_step + 1)
            self.current_flos += round(self.extra_passes * self.floating_point_ops(inputs))
        return loss

    def _validation_items(self, batch: dict[str, Any]) -> Any:
        """Where processes share a batch, its labels in all of them: one may have more than another."""
        if self.args.world_size > 1:
            return self._get_num_items_in_batch([batch], self.args.device)
        return super()._validation_items(batch)

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
        return 1.0 if self._gradient.differentiates(self.options.inner_steps) else 0.0
