"""A Trainer that scores with the task's own metrics and keeps what a record needs.

It stops rather than spoil a training phase: at a loss that is no number, or a checkpoint that cannot be written.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from datasets import Dataset
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from autolora_bench.errors import UserError
from autolora_bench.metrics.registry import whole_of
from autolora_bench.processes import on_main
from autolora_bench.record import Evaluation
from autolora_bench.run_files import CHECKPOINT, clear
from autolora_bench.training.counting import CountingTrainer, Meter, Stopwatch
from autolora_bench.training.method_hooks import MethodHooks
from autolora_bench.training.order import ContinuedSampler, SeededLengthGroupedSampler, share_last_batches
from autolora_bench.training.sharding import averaging, shard_frozen
from autolora_bench.training.weight_groups import HeadRate
from autolora_bench.training.weights import load_trainable, save_trainable, share

TRAINABLE = "trainable.safetensors"
METER = "meter.json"
HOOKS = "companion.safetensors"
NEVER = 2**62


class DivergenceError(UserError):
    """A training loss, or an output of the trained model, was NaN or infinite."""

    def __init__(self, what: str, step: int, epoch: int, batch: int) -> None:
        super().__init__(
            f"{what} in optimizer step {step}, batch {batch} of epoch {epoch}",
            "lower the learning rate; the last checkpoint, from before that step, is kept",
        )


class LossWatch:
    """Remembers the first optimizer step with a number that was not finite, without waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        self.first = torch.tensor(NEVER, device=device)

    def note(self, loss: Tensor, step: int) -> None:
        """Take a micro-batch's loss, or the largest output (scalar), in optimizer step `step`, counted from 1."""
        with torch.inference_mode(False):  # what several processes reduce must not be of an evaluation's mode
            bad = torch.where(torch.isfinite(loss.detach()), NEVER, step)
            self.first = torch.minimum(self.first, bad)

    def first_bad(self, processes: int = 1) -> int | None:
        """That step of any of the processes, if there was one; waits for the device."""
        if processes > 1:
            dist.all_reduce(self.first, op=dist.ReduceOp.MIN)
        step = int(self.first)
        return step if step < NEVER else None


@contextmanager
def whole_or_removed(checkpoint: Path) -> Iterator[None]:
    """A checkpoint that cannot be written is removed. Raises UserError with the reason."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        with suppress(OSError):
            clear(checkpoint, CHECKPOINT)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(
            f"cannot write {checkpoint}: {reason}",
            "free some space or choose another folder with results=DIR; the same command goes on from here",
        ) from error


Evaluate = Callable[[nn.Module], dict[str, Evaluation]]
"""Model -> evaluation of every evaluation split; epoch, step and loss are filled in by the trainer."""


class MeteredTrainer(CountingTrainer):
    """Counts seconds too; saves trainable weights alone, the same way for every method.

    Args:
        head_rate: the head's own learning rate; None gives it the rate of all.
        seen: how many examples were seen before, in the order that this training goes on with; None: it begins with
            the Trainer's own order.
        fsdp: of several processes each keeps a part of the frozen weights, from the training's begin on.
    """

    def __init__(
        self,
        *args: Any,
        head_rate: HeadRate | None = None,
        seen: int | None = None,
        fsdp: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.seen = seen
        self.order: ContinuedSampler | SeededLengthGroupedSampler | None = None
        self.fsdp = fsdp
        self.head_rate = head_rate
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.args.device)
        self.loss_watch = LossWatch(self.args.device)
        self.add_callback(_Timing(self))

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        if not (self.fsdp and training and model is self.model):
            wrapped: nn.Module = super()._wrap_model(model, training, dataloader)
            return wrapped
        shard_frozen(model, self.args.device)
        handler = self.accelerator.ddp_handler
        ready = self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        return averaging(ready, self.args.device, **(handler.to_kwargs() if handler else {}))

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The Trainer's optimizer, or the one that it was given, with the head's own rate."""
        optimizer: Optimizer = super().create_optimizer(model)
        if self.head_rate is not None:
            self.head_rate.apply(optimizer, self.trained)
        return optimizer

    def training_step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor | Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One micro-batch; a loss that is no number stops the training before anything is saved."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.loss_watch.note(loss, self.state.global_step + 1)
        return loss

    def check_loss(self, what: str = "the loss is NaN or infinite") -> None:
        """Raises DivergenceError where a loss since the last check was no number; waits for the device."""
        step = self.loss_watch.first_bad(self.args.world_size)
        if step is not None:
            loader: Any = self.callback_handler.train_dataloader
            per_epoch = math.ceil(len(loader) / self.args.gradient_accumulation_steps)
            raise DivergenceError(what, step, (step - 1) // per_epoch + 1, (step - 1) % per_epoch + 1)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[Any] | None:
        sampler: Sampler[Any] | None = super()._get_train_sampler(train_dataset)
        grouped = sampler if isinstance(sampler, LengthGroupedSampler) else None
        seed, together = (
            self.args.data_seed or 0,
            1 if grouped is None else grouped.batch_size * self.args.world_size,
        )
        if self.seen is not None:
            dataset: Any = self.train_dataset
            lengths = grouped.lengths if grouped else None
            sampler = self.order = ContinuedSampler(len(dataset), seed, self.seen, lengths, together)
        elif grouped is not None:
            sampler = self.order = SeededLengthGroupedSampler(
                seed, batch_size=together, lengths=grouped.lengths
            )
        return sampler

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Of several processes each has its part of every batch, of an epoch's last one too."""
        loader: DataLoader[Any] = super().get_train_dataloader()
        share_last_batches(loader)
        return loader

    def _run_epoch(self, model: Any, epoch: Any, *args: Any, **options: Any) -> None:
        """No step after the last: transformers would take one where `max_steps` ends inside the resumed epoch. And that
        epoch's order: accelerate (1.15) does not find the sampler below the parts of a batch that it skips."""
        if self.order is not None:
            self.order.set_epoch(epoch)
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(model, epoch, *args, **options)  # type: ignore[no-untyped-call]

    def share_counts(self) -> None:
        """What each of several processes has counted becomes that of all; the losses' sum their mean."""
        if self.args.world_size > 1:
            self.meter.share(self.args.device)
            dist.all_reduce(self.loss_sum)
            self.loss_sum /= self.args.world_size

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.check_loss()
        self.share_counts()
        with whole_or_removed(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"):
            super()._save_checkpoint(model, trial)

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


class _Timing(TrainerCallback):
    """Adds up the time of whole optimizer steps, evaluation and saving excluded, and looks at their losses.

    An accelerator is waited for where its losses are looked at, and before an epoch is evaluated.
    """

    def __init__(self, trainer: MeteredTrainer) -> None:
        self.trainer = trainer
        self.watch = Stopwatch(trainer.args.device)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.watch.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        looks = args.device.type == "cpu" or state.global_step % args.logging_steps == 0
        self._add(wait=looks)
        if looks:
            self.trainer.check_loss()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.watch.start()
        self._add(wait=True)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.trainer.share_counts()

    def _add(self, wait: bool) -> None:
        seconds, cpu_seconds = self.watch.stop(wait)
        self.trainer.meter.seconds += seconds
        self.trainer.meter.cpu_seconds += cpu_seconds


class FinetuneTrainer(MeteredTrainer):
    """Scores every evaluation split after every epoch and keeps the best epoch's weights beside the last.

    Args:
        evaluate_splits: scores a model on every evaluation split.
        headline: the metric of the first evaluation split that chooses the best epoch.
        higher_is_better: which way it goes.
        best: file for the best epoch's trainable weights; checkpoints share it.
        hooks: the method's own part in the training.
    """

    def __init__(
        self,
        *args: Any,
        evaluate_splits: Evaluate,
        headline: str,
        higher_is_better: bool,
        best: Path,
        hooks: MethodHooks | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.hooks = hooks or MethodHooks()
        self.add_callback(self.hooks)
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
        """The task's loss, and the method's own penalty once per optimizer step, whatever the accumulation."""
        found: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        penalty = self.hooks.penalty()
        if penalty is None:
            return found
        if self.model_accepts_loss_kwargs and num_items_in_batch is not None:
            penalty = penalty / self.current_gradient_accumulation_steps
        return (found[0] + penalty, found[1]) if return_outputs else found + penalty

    def take_mean_loss(self, steps: int) -> float | None:
        """Mean training loss of the last `steps` optimizer steps, which begins to be counted anew."""
        if self.args.world_size > 1:
            dist.all_reduce(self.loss_sum)
            self.loss_sum /= self.args.world_size
        mean = float(self.loss_sum) / steps if steps else None
        self.loss_sum.zero_()
        return mean

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score, remember, and save the weights if they are the best so far."""
        self.check_loss()
        # Decoding calls the model that an adapter is merged into.
        inner = self.trained.get_base_model() if isinstance(self.trained, PeftModel) else self.trained
        hooks = [one.register_forward_hook(self._note_outputs) for one in {self.trained, inner}]
        try:
            found = self.evaluate_splits(self.trained)
        finally:
            for hook in hooks:
                hook.remove()
        self.check_loss("the trained model's outputs became NaN or infinite")
        last = self.meter.history[-1].step if self.meter.history else 0
        loss = self.take_mean_loss(self.state.global_step - last)
        for evaluation in found.values():
            evaluation.epoch = round(float(self.state.epoch or 0), 6)
            evaluation.step = self.state.global_step
            evaluation.train_loss = loss
        first = next(iter(found))
        scores, whole = found[first].scores, whole_of(self.headline)
        if self.headline not in scores and whole in scores:
            chosen = f"no {self.headline} here: {whole} chooses the best epoch"
            found[first].note = "; ".join(filter(None, [found[first].note, chosen]))
        earlier = [e for e in self.meter.history if e.split == first]
        self.meter.history += found.values()
        if all(self.merit(found[first]) > self.merit(other) for other in earlier):
            on_main(lambda: save_trainable(self.trained, self.best))
        flat = {
            f"eval_{split}_{name}": value
            for split, evaluation in found.items()
            for name, value in evaluation.scores.items()
            if value is not None
        }
        self.log(flat)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, flat)
        return flat

    def _note_outputs(self, model: nn.Module, inputs: Any, outputs: Any) -> None:
        """A model that the last step before an evaluation broke would have scores as if it had guessed.

        Of a sequence of outputs the last position is looked at: prompts are padded at the front, where an attention
        that sees nothing may give NaN, and all else at the end, where padding sees the tokens before it.
        """
        named = outputs if isinstance(outputs, Mapping) else {}
        found = named.get("logits", named.get("last_hidden_state"))
        if found is not None:
            self.loss_watch.note(
                (found[:, -1] if found.dim() > 2 else found).abs().amax(), self.state.global_step
            )

    def merit(self, evaluation: Evaluation) -> tuple[bool, float]:
        """The headline score with higher always better; undefined scores come last, after them only those of
        weights that may not be kept.

        Where the split has nothing of the part that the headline is of (bleu/unseen), the score over all counts.
        """
        may_keep = self.hooks.may_keep(evaluation.step)
        value = evaluation.scores.get(self.headline, evaluation.scores.get(whole_of(self.headline)))
        if value is None or math.isnan(value):
            return may_keep, -math.inf
        return may_keep, value if self.higher_is_better else -value

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save and self.meter.history:
            share(self.best, Path(str(output_dir)) / self.best.name)
        state = self.hooks.state()
        if self.args.should_save and state:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
                Path(str(output_dir)) / HOOKS,
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.args.should_save and self.meter.history:
            share(Path(resume_from_checkpoint) / self.best.name, self.best)
        path = Path(resume_from_checkpoint) / HOOKS
        if path.is_file():
            self.hooks.load_state(load_file(path))
