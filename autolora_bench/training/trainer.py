"""A Trainer that scores with the task's own metrics and keeps what a record needs."""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autolora_bench.record import Evaluation
from autolora_bench.training.companion import Companion
from autolora_bench.training.weights import load_trainable, save_trainable

TRAINABLE = "trainable.safetensors"
METER = "meter.json"
COMPANION = "companion.safetensors"

Evaluate = Callable[[nn.Module], dict[str, Evaluation]]
"""Model -> evaluation of every evaluation split; epoch, step and loss are filled in by the trainer."""


@dataclasses.dataclass
class Meter:
    """What a training phase has used so far; saved in every checkpoint."""

    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    """Sum of the optimizer steps' losses since the last evaluation."""
    history: list[Evaluation] = dataclasses.field(default_factory=list)

    def write(self, path: Path) -> None:
        """Save as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Meter":
        """Load what `write` saved."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values["history"] = [Evaluation(**entry) for entry in values["history"]]
        return cls(**values)


class MeteredTrainer(Trainer):
    """Counts examples, tokens and seconds; saves trainable weights alone, the same way for every method."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.meter = Meter()
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.args.device)
        self.add_callback(_Stopwatch(self))

    @property
    def trained(self) -> nn.Module:
        """The model, unwrapped."""
        assert isinstance(self.model, nn.Module)
        return self.model

    def count(self, inputs: dict[str, Any]) -> None:
        """Add one micro-batch to the meter."""
        self.meter.examples += inputs["input_ids"].shape[0]
        self.meter.tokens += inputs["input_ids"].numel()

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        super()._track_num_input_tokens(inputs)  # type: ignore[no-untyped-call]
        self.count(inputs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.args.should_save:
            folder = Path(str(output_dir))
            save_trainable(self.trained, folder / TRAINABLE)
            self.meter.loss_sum = float(self.loss_sum)
            self.meter.write(folder / METER)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        load_trainable(self.trained, folder / TRAINABLE)
        self.meter = Meter.read(folder / METER)
        self.loss_sum.fill_(self.meter.loss_sum)


class _Stopwatch(TrainerCallback):
    """Adds up the wall-clock time of whole optimizer steps, evaluation and saving excluded."""

    def __init__(self, trainer: MeteredTrainer) -> None:
        self.trainer = trainer
        self.begun = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.begun = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.trainer.meter.seconds += time.perf_counter() - self.begun


class FinetuneTrainer(MeteredTrainer):
    """Scores every evaluation split after every epoch and keeps the best epoch's weights beside the last.

    Args:
        evaluate_splits: scores a model on every evaluation split.
        headline: the metric of the first evaluation split that chooses the best epoch.
        higher_is_better: which way it goes.
        best: file for the best epoch's trainable weights.
        companion: the method's own part in the training.
    """

    def __init__(
        self,
        *args: Any,
        evaluate_splits: Evaluate,
        headline: str,
        higher_is_better: bool,
        best: Path,
        companion: Companion | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.companion = companion or Companion()
        self.add_callback(self.companion)
        self.evaluate_splits = evaluate_splits
        self.headline = headline
        self.higher_is_better = higher_is_better
        self.best = best

    def training_step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor | Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One micro-batch; its loss is added up without waiting for the device."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.loss_sum += loss.detach()
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The task's loss, and the companion's penalty once per optimizer step, whatever the accumulation."""
        found: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        penalty = self.companion.penalty()
        if penalty is None:
            return found
        if self.model_accepts_loss_kwargs and num_items_in_batch is not None:
            penalty = penalty / self.current_gradient_accumulation_steps
        return (found[0] + penalty, found[1]) if return_outputs else found + penalty

    def take_mean_loss(self, steps: int) -> float | None:
        """Mean training loss of the last `steps` optimizer steps, which begins to be counted anew."""
        mean = float(self.loss_sum) / steps if steps else None
        self.loss_sum.zero_()
        return mean

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score, remember, and save the weights if they are the best so far."""
        found = self.evaluate_splits(self.trained)
        last = self.meter.history[-1].step if self.meter.history else 0
        loss = self.take_mean_loss(self.state.global_step - last)
        for evaluation in found.values():
            evaluation.epoch = round(float(self.state.epoch or 0), 6)
            evaluation.step = self.state.global_step
            evaluation.train_loss = loss
        first = next(iter(found))
        earlier = [e for e in self.meter.history if e.split == first]
        if all(self.merit(found[first]) > self.merit(other) for other in earlier):
            save_trainable(self.trained, self.best)
        self.meter.history += found.values()
        flat = {
            f"eval_{split}_{name}": value
            for split, evaluation in found.items()
            for name, value in evaluation.scores.items()
            if value is not None
        }
        self.log(flat)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, flat)
        return flat

    def merit(self, evaluation: Evaluation) -> tuple[bool, float]:
        """The headline score with higher always better; undefined scores come last, after them only those of
        weights that may not be kept."""
        may_keep = self.companion.may_keep(evaluation.step)
        value = evaluation.scores.get(self.headline)
        if value is None or math.isnan(value):
            return may_keep, -math.inf
        return may_keep, value if self.higher_is_better else -value

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        state = self.companion.state()
        if self.args.should_save and state:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
                Path(str(output_dir)) / COMPANION,
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        path = Path(resume_from_checkpoint) / COMPANION
        if path.is_file():
            self.companion.load_state(load_file(path))
