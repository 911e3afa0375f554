"""The phase that every method ends with: supervised training of an adapted model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel, TrainingArguments

from autolora_bench.config.train import Keep, TrainConfig
from autolora_bench.methods.adapter_ranks import adapter_ranks
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult, count_parameters, run_within_memory
from autolora_bench.models.export import export
from autolora_bench.models.export_folder import Origin, complete_export
from autolora_bench.models.load import Backbone
from autolora_bench.models.storage import count_weights
from autolora_bench.processes import on_main
from autolora_bench.run_files import EXPORT, EXPORTED, clear
from autolora_bench.training.finetune import WEIGHTS, Finetuning, Outcome, finetune
from autolora_bench.training.lora_optimizers import MakeOptimizer
from autolora_bench.training.method_hooks import MethodHooks
from autolora_bench.training.weight_groups import WeightGroups, adamw, head_rate
from autolora_bench.training.weights import load_trainable

Adapt = Callable[[Backbone, PhaseContext], Any]
"""Turns a pretrained model into the one that is trained: what requires a gradient is what the method trains."""

Export = Callable[[Any, Backbone, Path], None]
"""Writes a trained model into a folder, in a format that loads by itself."""


@dataclass(frozen=True)
class FinetunePhase:
    """Adapt a fresh model, train it on all training data, save what was trained.

    Leaves weights.safetensors (what was trained) and export/, which stands alone: transformers or PEFT load it
    anywhere.
    """

    parallel: ClassVar[bool] = True
    name: str
    adapt: Adapt
    learning_rate: float
    hooks: Callable[[Any], MethodHooks]
    """Adapted model -> the method's own part in the training."""
    export: Export
    details: Callable[[PhaseContext], dict[str, Any]]
    """What the record has to tell of the method in this run."""
    optimizer: Callable[[PhaseContext], MakeOptimizer | None] = lambda context: None
    """What makes the run's optimizer; None is AdamW."""
    base_batch_size: int | None = None
    """`learning_rate` is meant for so many examples a step, and is scaled to the run's; None: for any number."""
    part: Callable[[TrainConfig, int], TrainConfig] = lambda train, rows: train
    """The run's training and training examples -> this phase's part of it."""
    seen: Callable[[TrainConfig, int], int | None] = lambda train, rows: None
    """The run's training and training examples -> how many of the stream of examples earlier phases have trained on;
    None where this phase begins by itself."""

    def run(self, context: PhaseContext) -> PhaseResult:
        """Train, or go on from the last checkpoint."""
        train = self.part(context.train, len(context.splits.train))
        return run_within_memory(context, self.name, train, lambda train: self._train(context, train))

    def _train(self, context: PhaseContext, train: TrainConfig) -> PhaseResult:
        folder = context.phase_folder(self.name)
        backbone = context.backbone()
        total = count_weights(backbone.model)
        model = self.adapt(backbone, context)
        groups = WeightGroups(tuple(backbone.head_modules), context.experiment.method.weight_decay)
        setup = Finetuning(
            self.name,
            folder,
            context.task,
            context.splits,
            context.tokenizer,
            train,
            self._rate(train),
            context.experiment.seed,
            context.device,
            self.hooks(model),
            callbacks=(context.trackers.callback(self.name),),
            optimizer=self._optimizer(context, groups),
            head_rate=head_rate(train, backbone.head_modules),
            seen=self.seen(context.train, len(context.splits.train)),
            identity=context.identity,
            saved=context.saved,
        )
        outcome = finetune(model, setup)
        context.predicted = outcome.predicted
        on_main(lambda: self._export(model, backbone, context, outcome))
        return PhaseResult(
            artefact=self.name,
            train_seconds=outcome.meter.seconds,
            train_cpu_seconds=outcome.meter.cpu_seconds,
            steps=outcome.steps,
            examples=outcome.meter.examples,
            tokens=outcome.meter.tokens,
            flops=outcome.flops,
            details={**setup.hooks.details(), **self.details(context)},
            history=outcome.meter.history,
            best=outcome.best,
            last=outcome.last,
            parameters=count_parameters(total, model, backbone.head_modules),
            ranks=adapter_ranks(model, backbone.targets),
            source=backbone.source,
        )

    def _export(self, model: Any, backbone: Backbone, context: PhaseContext, outcome: Outcome) -> None:
        """Anew each time: nothing that an attempt which was stopped had exported stays."""
        folder, experiment = context.folder / self.name / EXPORTED, context.experiment
        with suppress(OSError):
            clear(folder, EXPORT)
        self.export(model, backbone, folder)
        kept = outcome.best if experiment.train.keep is Keep.best else outcome.last
        commit = backbone.source.get("commit")
        made = Origin(
            experiment, context.data.fingerprint, context.command, kept, str(commit) if commit else None
        )
        complete_export(folder, model, context.tokenizer, context.task.head().kind, made)

    def _rate(self, train: TrainConfig) -> float:
        base = self.base_batch_size
        return self.learning_rate if base is None else self.learning_rate * train.batch_size / base

    def _optimizer(
        self, context: PhaseContext, groups: WeightGroups
    ) -> Callable[[Any, TrainingArguments], Optimizer] | None:
        make = self.optimizer(context) or (None if groups.weight_decay is None else adamw)
        return None if make is None else lambda model, arguments: make(model, arguments, groups)

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model, with the weights that were kept."""
        model: nn.Module = self.adapt(context.backbone(), context)
        load_trainable(model, context.folder / self.name / WEIGHTS)
        return model.to(context.device)


@dataclass(frozen=True)
class OneTraining(ABC):
    """A method whose last phase trains an adapted model: a subclass says at least how the model is adapted."""

    config: Any
    """The method's settings."""
    training_name: ClassVar[str] = "finetune"
    """Of the phase that trains the model."""

    def phases(self) -> Sequence[Phase]:
        """What comes before the training, if anything does, and the training."""
        return [*self.before(), self.training()]

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model."""
        return self.training().rebuild(context)

    def training(self) -> FinetunePhase:
        """The training of the final weights."""
        return FinetunePhase(
            self.training_name,
            self.adapt,
            self.config.learning_rate,
            self.hooks,
            self.export,
            self.details,
        )

    def before(self) -> Sequence[Phase]:
        """Phases before the training."""
        return []

    @abstractmethod
    def adapt(self, backbone: Backbone, context: PhaseContext) -> nn.Module:
        """The model that is trained, made of a fresh one: what requires a gradient in it is what the method trains.

        The task's head must be among that (`backbone.head_modules`). Called again to rebuild the trained model, so
        that it may depend on the run's settings and on what earlier phases left alone.
        """

    def hooks(self, model: Any) -> MethodHooks:
        """The method's own part in the training of an adapted model."""
        return MethodHooks()

    def export(self, model: Any, backbone: Backbone, folder: Path) -> None:
        """Write a trained model into a folder; here as transformers or PEFT write it."""
        export(model, folder)

    def details(self, context: PhaseContext) -> dict[str, Any]:
        """What the record has to tell of the method in this run."""
        return {}


def head_alone(backbone: Backbone) -> PreTrainedModel:
    """The model with everything frozen but the task's head, if it has one to train."""
    model = backbone.model
    model.requires_grad_(False)
    for name in backbone.head_modules:
        model.get_submodule(name).requires_grad_(True)
    return model
