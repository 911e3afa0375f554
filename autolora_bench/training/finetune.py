"""One supervised training phase: train, score every epoch, keep the weights that were asked for."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback, TrainingArguments

from autolora_bench.config.train import Keep, Precision, TrainConfig
from autolora_bench.metrics.registry import lookup
from autolora_bench.models.load import HeadKind
from autolora_bench.processes import on_main
from autolora_bench.record import Evaluation
from autolora_bench.speedups.applied import sped_up
from autolora_bench.tasks.base import EvaluationContext, Result, Splits, Task, evaluation_of
from autolora_bench.training.arguments import training_arguments
from autolora_bench.training.checkpoints import CHECKPOINTS, CheckpointPolicy, train_or_resume
from autolora_bench.training.counting import Meter
from autolora_bench.training.method_hooks import MethodHooks
from autolora_bench.training.progress import ProgressDisplay
from autolora_bench.training.sharding import make_whole, whole
from autolora_bench.training.trainer import FinetuneTrainer
from autolora_bench.training.weight_groups import HeadRate
from autolora_bench.training.weights import load_trainable, save_trainable

WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"


@dataclass(frozen=True)
class Finetuning:
    """What a training phase needs beside the model."""

    phase: str
    folder: Path
    """The phase's own folder: checkpoints while it runs, weights at its end."""
    task: Task
    splits: Splits
    tokenizer: PreTrainedTokenizerBase
    train: TrainConfig
    learning_rate: float
    seed: int
    device: torch.device
    hooks: MethodHooks = field(default_factory=MethodHooks)
    callbacks: tuple[TrainerCallback, ...] = ()
    optimizer: Callable[[nn.Module, TrainingArguments], Optimizer] | None = None
    """None is AdamW."""
    head_rate: HeadRate | None = None
    """None gives the head the learning rate of all."""
    seen: int | None = None
    """As `seen` of FinetuneTrainer."""
    identity: str = ""
    """Of the run: only its own checkpoints are resumed."""
    saved: Callable[[], None] = lambda: None
    """Called after every checkpoint."""


@dataclass(frozen=True)
class Outcome:
    """What a training phase leaves behind, apart from the weights in the model and in WEIGHTS."""

    meter: Meter
    best: dict[str, Evaluation]
    last: dict[str, Evaluation]
    steps: int
    flops: float
    predicted: dict[str, Result]
    """Evaluation split -> what was predicted with the weights that are kept; empty in other processes than the main
    one, and where an earlier attempt evaluated them."""


def finetune(model: nn.Module, setup: Finetuning) -> Outcome:
    """Train `model` in place; at the end it holds the weights that `train.keep` asks for.

    An interrupted phase goes on from its last whole checkpoint. Checkpoints stay: who records the phase as complete
    removes them.
    """
    results: dict[int, dict[str, Result]] = {}
    trainer = build_trainer(model, setup, results)
    with sped_up(model, setup.train):
        trained = train_or_resume(trainer, setup.identity)
    make_whole(model)
    best, last = best_and_last(trainer)
    first = next(iter(best.values()))
    if trainer.merit(first)[1] == -math.inf:
        undefined = f"no {trainer.headline} in any epoch that may be kept: the first of them is taken"
        first.note = "; ".join(filter(None, [first.note, undefined]))
    kept = best if setup.train.keep is Keep.best else last
    if setup.train.keep is Keep.best:
        load_trainable(model, trainer.best)
    setup.hooks.finish()
    on_main(lambda: save_trainable(model, setup.folder / WEIGHTS))
    return Outcome(
        trainer.meter,
        best,
        last,
        trained.global_step,
        float(trainer.state.total_flos),
        results.get(next(iter(kept.values())).step, {}),
    )


def build_trainer(
    model: nn.Module, setup: Finetuning, results: dict[int, dict[str, Result]] | None = None
) -> FinetuneTrainer:
    """The trainer of a phase; `results` takes what the best and the last evaluation so far predicted, by their step."""
    arguments = training_arguments(
        setup.train,
        setup.folder / CHECKPOINTS,
        learning_rate=setup.learning_rate,
        seed=setup.seed,
        device=setup.device,
        eval_strategy="epoch",
    )
    headline = setup.task.config.metrics[0]

    def evaluate(trained: nn.Module) -> dict[str, Evaluation]:
        found = evaluate_splits(trained, setup)
        if results is not None:
            best = next(iter(best_and_last(trainer)[0].values())).step if trainer.meter.history else None
            for step in results.keys() - {best}:
                del results[step]
            results[trainer.state.global_step] = found
        return {split: evaluation_of(setup.phase, split, scored) for split, scored in found.items()}

    def evaluate_whole(trained: nn.Module) -> dict[str, Evaluation]:
        with whole(trained):
            return on_main(lambda: evaluate(trained))

    trainer = FinetuneTrainer(
        model=model,
        args=arguments,
        optimizers=(setup.optimizer(model, arguments) if setup.optimizer else None, None),
        train_dataset=setup.splits.train,
        eval_dataset=setup.splits.train.select([]),
        data_collator=setup.task.collator(setup.tokenizer),
        callbacks=[
            CheckpointPolicy(setup.train.checkpoint_minutes, setup.identity, setup.saved),
            ProgressDisplay(setup.phase),
            *setup.callbacks,
        ],
        evaluate_splits=evaluate_whole,
        headline=headline,
        higher_is_better=lookup(headline).higher_is_better,
        best=setup.folder / CHECKPOINTS / BEST,
        hooks=setup.hooks,
        padding_free=setup.train.padding_free is True,
        head_rate=setup.head_rate,
        seen=setup.seen,
        fsdp=setup.train.fsdp,
        next_tokens=setup.task.head().kind is HeadKind.language_model,
        label_smoothing=setup.train.label_smoothing,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def evaluate_splits(model: nn.Module, setup: Finetuning) -> dict[str, Result]:
    """Every evaluation split, scored as after an epoch."""
    found = {}
    for split in setup.task.config.evaluation:
        context = EvaluationContext(
            setup.tokenizer,
            setup.device,
            setup.train.evaluation_batch_size,
            bf16=setup.train.precision is Precision.bf16,
            final=False,
            split=split,
        )
        found[split] = setup.task.evaluate(model, setup.splits.held_out[split], context)
    return found


def best_and_last(trainer: FinetuneTrainer) -> tuple[dict[str, Evaluation], dict[str, Evaluation]]:
    """Evaluations at the best and at the last epoch, by split; the earliest epoch wins a tie."""
    history = trainer.meter.history
    chosen = max((e for e in history if e.split == history[0].split), key=trainer.merit)
    best = {e.split: e for e in history if e.step == chosen.step}
    last = {e.split: e for e in history if e.step == history[-1].step}
    return best, last
