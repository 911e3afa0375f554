"""Two levels in one Trainer: weights move on one half of the data, outer variables on the other, in turn.

The Trainer's own steps move the weights. After an inner loop of them, while the weights' `.grad` and the moments are
still those of its last step, the outer variables move. A subclass says what they are.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autolora_bench.errors import require
from autolora_bench.search.hypergradient.step import InnerLoop
from autolora_bench.search.storage import Trajectory, load_past, save_past
from autolora_bench.search.validation import ValidationStream, token_counts


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """When the outer variables move, and on what.

    Attributes:
        interval: they move once every so many weight steps, and no more often than once in an inner loop.
        inner_steps: weight steps before they move whose effect on the weights they see.
        validation_batch_size: examples per process; None takes the training batch size.
        group_by_length: validation batches of similar lengths; the data set then needs `input_ids`.
        seed: orders the validation batches; None takes the training seed.
        points: lines of the trajectory.

    Raises:
        UserError: a value out of range.
    """

    interval: int = 1
    inner_steps: int = 1
    validation_batch_size: int | None = None
    group_by_length: bool = False
    seed: int | None = None
    points: int = 100

    def __post_init__(self) -> None:
        least = min(self.interval, self.inner_steps, self.validation_batch_size or 1)
        require(
            least >= 1,
            f"search with interval={self.interval}, inner_steps={self.inner_steps}, "
            f"validation_batch_size={self.validation_batch_size}",
            "choose 1 or more for each",
        )

    @property
    def period(self) -> int:
        """Weight steps from one move of the outer variables to the next."""
        return max(self.interval, self.inner_steps)


def computes_in_16_bits(model: PeftModel, args: TrainingArguments) -> bool:
    """Whether passes run in bf16, or through weights that are stored in 16 bits."""
    return args.bf16 or any(p.dtype in (torch.bfloat16, torch.float16) for p in model.parameters())


class BilevelTrainer(Trainer):
    """Weights and outer variables in turn.

    Args:
        model: PEFT model.
        args: of the weights.
        train_dataset: D_tr.
        validation_dataset: D_val, the other half of the training data. Not the evaluation set. Of several processes
            each takes the mean of its own labels, and their mean counts: exact where each example has one label.
        options: when the outer variables move.
        trajectory: file of the outer variables over time; `trajectory.jsonl` in the output folder by default.
        trainer_arguments: everything else that `transformers.Trainer` takes.

    Raises:
        UserError: a ready scheduler, which knows nothing of the outer variables' parameter group; fp16, or several
            devices in one process.
    """

    options: LoopOptions
    outer_name = "selection variables"
    """What the outer variables are called."""
    trajectory_name = "alpha"
    """What a line of the trajectory holds."""

    def __init__(
        self,
        *,
        model: PeftModel,
        args: TrainingArguments,
        validation_dataset: Any,
        options: LoopOptions,
        trajectory: str | Path | None = None,
        **trainer_arguments: Any,
    ) -> None:
        require(
            trainer_arguments.get("optimizers", (None, None))[1] is None,
            "a ready scheduler is of the optimizer without the parameter groups that the search adds",
            "give optimizers=(optimizer, None), and the schedule as lr_scheduler_type of the arguments",
        )
        require(
            not args.fp16,
            "the search does not support fp16: scaled gradients skip steps",
            "use bf16 or fp32",
        )
        require(
            args.n_gpu <= 1 and not args.deepspeed and not args.fsdp,
            "the search runs on one device per process",
            "use one GPU, or torchrun with plain data parallel",
        )
        super().__init__(model=model, args=args, **trainer_arguments)
        self.options = options
        path = trajectory or Path(str(args.output_dir)) / "trajectory.jsonl"
        self.trajectory = Trajectory(path, options.points, self.trajectory_name)
        self._model = model
        self._weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._half_precision = computes_in_16_bits(model, args)
        self._validation = self._validation_stream(validation_dataset)
        self._step: InnerLoop | None = None
        self._checkpoint: Path | None = None
        self.diagnosis: dict[str, float] = {}
        self.add_callback(BetweenSteps(self))

    @property
    @abstractmethod
    def outer(self) -> Tensor:
        """The outer variables as the trajectory shows them, (L, K)."""

    @abstractmethod
    def begin_loop(self, model: nn.Module) -> InnerLoop:
        """A new inner loop, of which the next weight step is the first, or in a resumed run a later one."""

    @abstractmethod
    def prepare_loop(self, step: InnerLoop) -> None:
        """Before its first pass; `step.past` holds what a resumed run has done of it before."""

    @abstractmethod
    def training_pass(self, step: InnerLoop, batch: Any) -> Tensor:
        """Forward and backward of one micro-batch in the loop; the detached loss."""

    @abstractmethod
    def go_on(self, step: InnerLoop) -> None:
        """After a weight step of the loop that is not its last."""

    @abstractmethod
    def move_outer(self, step: InnerLoop) -> None:
        """Move the outer variables, after the loop's last weight step and before `zero_grad`."""

    @abstractmethod
    def save_outer(self, folder: str) -> None:
        """Put the outer variables into a checkpoint."""

    @abstractmethod
    def load_outer(self, folder: str) -> None:
        """Take them back."""

    def begin(self) -> None:
        """Before the first step of a training: let go of what an earlier one that was stopped left half done."""
        self._step = None
        self.diagnosis = {}
        for variables in self._torch_optimizer().param_groups[-1]["params"]:
            variables.grad = None

    @property
    def outer_moves(self) -> bool:
        """Whether the weight step under way is the last of an inner loop."""
        return (self.state.global_step + 1) % self.options.period == 0

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One micro-batch; inside an inner loop by `training_pass`."""
        if self._place() < 0:
            plain: Tensor = super().training_step(model, inputs, num_items_in_batch)
            return plain
        model.train()
        if self._step is None:
            self._step = self._begun(model)
        parts = self.current_gradient_accumulation_steps
        batch = (self._prepare_inputs(inputs), num_items_in_batch, parts)
        self._step.record(batch)
        return self.training_pass(self._step, batch)

    def before_weight_step(self) -> None:
        """Called before the optimizer moves the weights."""

    def after_weight_step(self) -> None:
        """Go on in the loop, or move the outer variables; called between the weight step and `zero_grad`."""
        step = self._step
        if step is None:
            return
        if not self.outer_moves:
            step.advance()
            self.go_on(step)
            return
        self.move_outer(step)
        self._step = None

    def _place(self) -> int:
        """Which step of the inner loop the next weight step is, from 0; negative before the loop."""
        period = self.options.period
        return self.state.global_step % period - (period - self.options.inner_steps)

    def _begun(self, model: nn.Module) -> InnerLoop:
        step, done = self.begin_loop(model), self._place()
        if done:
            step.past = load_past(self._checkpoint, self.args.process_index, step.device)
            require(
                len(step.past) == done,
                f"{self._checkpoint} does not hold the {done} steps that its inner loop has behind it",
                "resume with the same inner_steps and interval, on as many processes",
            )
        self.prepare_loop(step)
        return step

    def _loop(self, parallel: nn.Module) -> dict[str, Any]:
        """Arguments of an `InnerLoop` that begins, or goes on, with the next weight step; `parallel` is the model as
        the Trainer wraps it."""
        return {
            "model": self._model,
            "optimizer": self._torch_optimizer(),
            "weights": self._weights,
            "training_loss": self._training_loss,
            "validation_loss": self._validation_loss,
            "validation": self._prepare_inputs(
                self._validation.batch(self.state.global_step // self.options.period)
            ),
            "parallel": parallel,
            "max_grad_norm": self.args.max_grad_norm or 0.0,
            "half_precision": self._half_precision,
            "inner_steps": self.options.inner_steps,
        }

    def _torch_optimizer(self) -> Optimizer:
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        assert isinstance(optimizer, Optimizer)
        return optimizer

    def _validation_items(self, batch: dict[str, Any]) -> Any:
        """The labels that its loss is a mean over, None where the loss counts them itself."""
        if self.compute_loss_func is None:
            return None
        return self._get_num_items_in_batch([batch], self.args.device)

    def _validation_loss(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        items = self._validation_items(batch)
        loss = self.compute_loss(model, dict(batch), num_items_in_batch=items)
        assert isinstance(loss, Tensor)
        return loss

    def _training_loss(self, model: nn.Module, batch: tuple[dict[str, Any], Any, int]) -> Tensor:
        """Of a micro-batch, its count of labels and the number of parts that its weight step had, which a later one
        that repeats it need not have."""
        inputs, items, parts = batch
        loss = self.compute_loss(model, dict(inputs), num_items_in_batch=items)
        assert isinstance(loss, Tensor)
        by_model = self.model_accepts_loss_kwargs and items is not None
        scaled = getattr(self, "loss_is_scaled_for_ga", None)
        scaled = by_model or self.compute_loss_func is not None if scaled is None else scaled
        return loss if scaled else loss / parts

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        norm: Tensor = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        if self._step is not None:
            self._step.gradient_norm = norm
        return norm

    def _validation_stream(self, dataset: Any) -> ValidationStream:
        collate = self._get_collator_with_removed_columns(self.data_collator, description="validation")
        size = self.options.validation_batch_size or self.args.train_batch_size
        seed = self.args.seed if self.options.seed is None else self.options.seed
        lengths = token_counts(dataset) if self.options.group_by_length else None
        process, processes = self.args.process_index, self.args.world_size
        return ValidationStream(dataset, collate, size, seed, process, processes, lengths)

    def _save_rng_state(self, output_dir: str) -> None:
        """What every process keeps for itself: generators, and what an inner loop has behind it."""
        super()._save_rng_state(output_dir)
        if self._step is not None and self._step.past:
            save_past(self._step.past, Path(output_dir), self.args.process_index)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = output_dir or str(self.args.output_dir)
            self.save_outer(folder)
            self.trajectory.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._checkpoint = Path(resume_from_checkpoint)
        self.load_outer(resume_from_checkpoint)
        if self.args.should_save:
            self.trajectory.load(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self.load_outer(str(self.state.best_model_checkpoint))


class BetweenSteps(TrainerCallback):
    """The points of the Trainer's loop that a subclass cannot override: moves the outer variables after the weight
    step, and writes what the search leaves behind."""

    def __init__(self, trainer: BilevelTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the trajectory, anew or where the resumed run stood. Raises UserError where nothing would ever move."""
        options = self.trainer.options
        named = "interval" if options.interval >= options.inner_steps else "inner_steps"
        require(
            options.period <= state.max_steps,
            f"{named}={options.period} in a search of {state.max_steps} steps: the {self.trainer.outer_name} would "
            "never move",
            f"say {state.max_steps} or less, or search longer",
        )
        self.trainer.begin()
        if state.is_world_process_zero:
            self.trainer.trajectory.begin(state.global_step, state.max_steps)
            if state.global_step == 0:
                self.trainer.trajectory.record(0, self.trainer.outer)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Gradients are there, clipped."""
        self.trainer.before_weight_step()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """The weights have moved and their gradients are still there."""
        self.trainer.after_weight_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write what became known in a step that is now counted."""
        if self.trainer.diagnosis:
            self.trainer.log(self.trainer.diagnosis)
            self.trainer.diagnosis = {}
        if state.is_world_process_zero:
            self.trainer.trajectory.record(state.global_step, self.trainer.outer)
