"""Phases, what they may use, and what they report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, set_seed

from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.config.method import MethodConfig
from autolora_bench.config.ranges import AUTO
from autolora_bench.config.registry import kind_of
from autolora_bench.config.support import UnsupportedError
from autolora_bench.config.train import WAYS, TrainConfig
from autolora_bench.config.validate import check_on_architecture
from autolora_bench.data.files import file_digests
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData
from autolora_bench.methods.inputs import DATA, EXAMPLES, Inputs, changed_since, differing
from autolora_bench.models.load import Backbone, load_backbone, load_tokenizer, stated_config
from autolora_bench.models.locate import model_digests
from autolora_bench.record import PRETRAINED, Evaluation, LayerRank, Parameters
from autolora_bench.tasks.base import Result, Splits, Task
from autolora_bench.tasks.model_fit import check_room, check_vocabulary
from autolora_bench.tasks.table import AS_TEXT, build_task
from autolora_bench.training.memory import with_less_memory
from autolora_bench.training.trackers import Trackers
from autolora_bench.training.weight_groups import is_head


@dataclass
class PhaseContext:
    """What every phase of one run shares; data and tokenizer are read when first needed."""

    experiment: ExperimentConfig
    folder: Path
    """The run's folder; each phase has the subfolder of its name."""
    device: torch.device
    saved: Callable[[], None] = lambda: None
    """Called after every checkpoint, so that the record knows of it."""
    inputs: Inputs = field(default_factory=Inputs)
    """What the run has read so far, in earlier attempts too."""
    trackers: Trackers = field(default_factory=Trackers)
    """Experiment trackers that the run's trainings report to."""
    ways: Mapping[str, Any] = field(default_factory=dict)
    """What auto of the settings WAYS came to (speedups.auto); what is not said of it is off."""
    command: str = ""
    """What makes the run again, without the machine's folders."""
    predicted: Mapping[str, Result] = field(default_factory=dict)
    """Evaluation split -> what the last training predicted with the weights that it kept, where this process did it."""

    @property
    def identity(self) -> str:
        """What the run's checkpoints are marked with."""
        return f"{config_id(self.experiment)}/seed{self.experiment.seed}"

    @cached_property
    def train(self) -> TrainConfig:
        """The settings of the run's trainings, in which nothing is left to auto."""
        asked = self.experiment.train
        settled: dict[str, Any] = {
            way: bool(self.ways.get(way)) for way in WAYS if getattr(asked, way) == AUTO
        }
        return replace(asked, **settled)

    @cached_property
    def task(self) -> Task:
        """The task kind."""
        may_write = type(self.experiment.task) in AS_TEXT
        return build_task(self.experiment, stated_config(self.experiment.model) if may_write else None)

    @cached_property
    def data(self) -> TaskData:
        """The task's examples.

        Raises:
            UserError: they cannot be read, or are not those that the run began with.
        """
        task, data = self.experiment.task, self.experiment.data
        files = file_digests(task, data)
        found = load_data(task, data)
        changed = differing(files, file_digests(task, data))
        if changed:
            raise changed_since(DATA, changed)
        self.inputs.check(DATA, {**files, EXAMPLES: found.fingerprint})
        return found

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer.

        Raises:
            UserError: it cannot be read, or the model's files are not those that the run began with.
        """
        self.inputs.check(PRETRAINED, model_digests(self.experiment.model))
        return load_tokenizer(self.experiment.model, self.task.head())

    @cached_property
    def splits(self) -> Splits:
        """The task's tokenised splits."""
        return self.task.prepare(self.data, self.tokenizer)

    def backbone(self, seed: int | None = None) -> Backbone:
        """A freshly loaded model; torch's generator is seeded first, so that the head's first values repeat.

        Raises:
            UserError: the model cannot be loaded or is not the one that the run began with, its tokenizer is another's,
                the method does not work on it, or an example is too long for it.
        """
        splits = self.splits  # not after the seed: nothing may come between it and the adapters' first values
        set_seed(self.experiment.seed if seed is None else seed)
        backbone = load_backbone(self.experiment.model, self.task.head(), self.device)
        self._check_model(backbone)
        architecture = backbone.model.config.model_type
        check_on_architecture(self.experiment, architecture)
        if (
            self.experiment.train.gradient_checkpointing
            and not backbone.model.supports_gradient_checkpointing
        ):
            raise UnsupportedError(
                f"train.gradient_checkpointing=true does not work with the architecture {architecture}",
                "leave it out, or choose another model",
            )
        check_vocabulary(backbone.model, backbone.tokenizer, splits)
        check_room(backbone.model, self.experiment.task, splits)
        return backbone

    def _check_model(self, backbone: Backbone) -> None:
        """After it was read, so that nothing can come between its noted files and the weights in memory."""
        files, commit = model_digests(self.experiment.model), backbone.source.get("commit")
        self.inputs.check(PRETRAINED, files or ({"commit": str(commit)} if commit else {}))

    def phase_folder(self, name: str) -> Path:
        """The subfolder of a phase, made if need be."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass
class PhaseResult:
    """What a phase adds to the record; what it leaves empty stays as it was."""

    artefact: str
    """File or folder, relative to the run's folder, that later phases and readers use."""
    train_seconds: float | None = None
    train_cpu_seconds: float | None = None
    steps: int | None = None
    examples: int | None = None
    tokens: int | None = None
    flops: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    history: list[Evaluation] = field(default_factory=list)
    best: dict[str, Evaluation] = field(default_factory=dict)
    last: dict[str, Evaluation] = field(default_factory=dict)
    test: dict[str, Evaluation] = field(default_factory=dict)
    parameters: Parameters | None = None
    ranks: list[LayerRank] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    """Where the model's weights came from."""


def run_within_memory(
    context: PhaseContext, name: str, train: TrainConfig, run: Callable[[TrainConfig], PhaseResult]
) -> PhaseResult:
    """`run` with the settings of the phase `name`; where memory runs out, with more micro-batches, which the result's
    details then tell. Raises UserError as `with_less_memory`."""
    result, memory = with_less_memory(context.phase_folder(name), train, run)
    result.details.update(memory)
    return result


class Phase(Protocol):
    """One step of a method: the unit of resume."""

    parallel: ClassVar[bool]
    """Whether all processes of a run do it together; otherwise the main one does it alone."""

    @property
    def name(self) -> str:
        """Name of the phase and of its folder."""

    def run(self, context: PhaseContext) -> PhaseResult:
        """Do it, or go on from where it was interrupted; leave the artefact in the phase's folder."""


class Method(Protocol):
    """A method with its settings."""

    def phases(self) -> Sequence[Phase]:
        """The phases in their order; the last leaves the trained model."""

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The trained model, from the artefacts of the phases."""


def build_method(config: MethodConfig) -> Method:
    """The method of a configuration. Raises UserError where what runs it cannot be imported."""
    method: Method = kind_of(config).build(config)
    return method


def count_parameters(total: int, model: nn.Module, head_modules: Sequence[str]) -> Parameters:
    """Count what `model` trains, and how much of it is the task's head.

    Args:
        total: weights of the pretrained model with its head, counted before it was adapted.
        model: the adapted model.
        head_modules: Backbone.head_modules.
    """
    trainable = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    head = sum(size for name, size in trainable.items() if is_head(name, head_modules))
    return Parameters(total, sum(trainable.values()), head)
