"""AutoLoRA (Zhang et al., NAACL 2024): search, threshold, retrain."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PrinterCallback

from autolora_bench.backbone.load import Backbone
from autolora_bench.config.method import AutoLoraConfig, Scaling, SearchConfig
from autolora_bench.config.train import TrainConfig
from autolora_bench.data.splits import search_split
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.methods.lora import lora_model
from autolora_bench.record import write_atomically
from autolora_bench.search import (
    RankAllocation,
    Rule,
    SearchOptions,
    Selection,
    allocate_ranks,
    rank_pattern,
    selection_for,
    verify_applied,
)
from autolora_bench.training.arguments import training_arguments
from autolora_bench.training.checkpoints import CheckpointPolicy, last_checkpoint, remove_checkpoints
from autolora_bench.training.progress import ProgressDisplay
from autolora_bench.training.search import MeteredSearchTrainer

SELECTION = "search/selection.json"
RANKS = "threshold/ranks.json"


@dataclass(frozen=True)
class AutoLora:
    """Ranks learnt on two halves of the training data, then LoRA trained with them on all of it."""

    config: AutoLoraConfig

    def phases(self) -> Sequence[Phase]:
        """Sections 3.2 (search) and 3.3 (threshold, retrain) of the paper."""
        return [SearchPhase(self.config.search), ThresholdPhase(self.config.search), self._retrain()]

    def rebuild(self, context: PhaseContext) -> nn.Module:
        """The retrained model."""
        return self._retrain().rebuild(context)

    def _retrain(self) -> FinetunePhase:
        return FinetunePhase("retrain", self._adapt, self.config.learning_rate)

    def _adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        config = self.config
        constant = config.scaling is Scaling.constant
        ranks = RankAllocation.from_dict(json.loads((context.folder / RANKS).read_text(encoding="utf-8")))
        pattern = rank_pattern(
            ranks, config.scaling.name, config.alpha / config.rank if constant else config.alpha
        )
        model = lora_model(backbone, context, lora_dropout=config.dropout, **pattern)
        verify_applied(model, ranks)
        return model


@dataclass(frozen=True)
class SearchPhase:
    """Trains weights on one half of the training data, selection variables on the other.

    Leaves selection.json ({modules, beta, alpha}) and trajectory.jsonl (alpha over the steps).
    """

    config: SearchConfig
    name: str = "search"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Search, or go on from the last checkpoint."""
        folder = context.phase_folder(self.name)
        backbone = context.backbone(self.config.initialisation_seed)
        model = lora_model(
            backbone,
            context,
            r=self.config.components,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            target_modules=backbone.targets,
        )
        selection = selection_for(model, self.config.constraint.name, self.config.initial)
        trainer = self._trainer(model, selection, context)
        checkpoint = last_checkpoint(folder / "checkpoints")
        trained = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        write_atomically(context.folder / SELECTION, json.dumps(_readable(selection)))
        remove_checkpoints(folder / "checkpoints")
        return PhaseResult(
            artefact=SELECTION,
            train_seconds=trainer.meter.seconds,
            steps=trained.global_step,
            examples=trainer.meter.examples,
            tokens=trainer.meter.tokens,
            flops=float(trainer.state.total_flos),
            details={"diagnostics": _diagnostics(trainer.state.log_history)},
            source=backbone.source,
        )

    def _trainer(self, model: PeftModel, selection: Selection, context: PhaseContext) -> MeteredSearchTrainer:
        folder, seed = context.phase_folder(self.name), context.experiment.seed
        halves = search_split(
            context.splits.train, self.config.train_share, seed, context.task.stratify_column()
        )
        train = self._train(context.experiment.train)
        trainer = MeteredSearchTrainer(
            model=model,
            args=training_arguments(
                train,
                folder / "checkpoints",
                learning_rate=self.config.learning_rate,
                seed=seed,
                device=context.device,
            ),
            train_dataset=halves[0],
            validation_dataset=halves[1],
            selection=selection,
            options=self._options(seed),
            trajectory=folder / "trajectory.jsonl",
            data_collator=context.task.collator(context.tokenizer),
            callbacks=[CheckpointPolicy(train.checkpoint_minutes), ProgressDisplay(self.name)],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _train(self, train: TrainConfig) -> TrainConfig:
        """The run's training settings with the search's own in their place."""
        c = self.config
        return replace(
            train,
            epochs=c.epochs,
            max_steps=c.max_steps,
            batch_size=c.batch_size,
            weight_decay=c.weight_decay,
            warmup=c.warmup,
        )

    def _options(self, seed: int) -> SearchOptions:
        c = self.config
        return SearchOptions(
            hypergradient=c.estimator.name,
            learning_rate=c.selection_learning_rate,
            betas=(c.selection_betas[0], c.selection_betas[1]),
            interval=c.interval,
            validation_batch_size=c.validation_batch_size,
            seed=seed,
            diagnose_at=tuple(c.diagnose_steps),
            rule=c.rule.name,
            threshold=c.threshold,
            budget=c.budget,
            minimum=minimum_rank(c),
        )


@dataclass(frozen=True)
class ThresholdPhase:
    """Turns the selection variables into one rank per layer; leaves ranks.json."""

    config: SearchConfig
    name: str = "threshold"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Apply the rule to what the search left."""
        c = self.config
        found = json.loads((context.folder / SELECTION).read_text(encoding="utf-8"))
        rule = Rule(c.rule.name)
        values = torch.tensor(found["beta" if rule.reads_beta else "alpha"], dtype=torch.float64)
        ranks = allocate_ranks(values, found["modules"], rule, c.threshold, c.budget, minimum_rank(c))
        write_atomically(context.folder / RANKS, json.dumps(ranks.to_dict(), indent=1))
        return PhaseResult(artefact=RANKS, details={"total_rank": ranks.total, "mean_rank": ranks.mean})


def minimum_rank(config: SearchConfig) -> int:
    """Fewest components of a layer: a choice with a budget, what the rule gives otherwise."""
    return config.minimum_rank if config.budget is not None else 0


def _readable(selection: Selection) -> dict[str, Any]:
    return {
        "modules": list(selection.modules_selected),
        "beta": selection.beta.detach().cpu().tolist(),
        "alpha": selection.alpha().detach().cpu().tolist(),
    }


def _diagnostics(log: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """The logged comparisons of the estimator with the exact hypergradient."""
    prefix = "hypergradient_"
    return [
        {
            "step": entry["step"],
            **{k.removeprefix(prefix): v for k, v in entry.items() if k.startswith(prefix)},
        }
        for entry in log
        if f"{prefix}cosine" in entry
    ]
