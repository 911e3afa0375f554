"""The phase in which AutoLoRA's selection variables are trained."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from peft import PeftModel

from autolora_bench.config.search import DIAGNOSE_STEPS, Constraint, Rule, SearchConfig
from autolora_bench.config.train import TrainConfig
from autolora_bench.data.splits import search_split
from autolora_bench.errors import UserError
from autolora_bench.methods.base import PhaseContext, PhaseResult, run_within_memory
from autolora_bench.methods.peft_lora import lora_model
from autolora_bench.methods.search_training import (
    MeteredSearchTrainer,
    measured,
    shared_arguments,
    train_search,
    validation_batch,
)
from autolora_bench.processes import on_main
from autolora_bench.record import write_atomically
from autolora_bench.search import RankRule, SearchOptions, Selection, movement, selection_for
from autolora_bench.search.ranks import rounded_total
from autolora_bench.training.arguments import training_arguments
from autolora_bench.training.checkpoints import CHECKPOINTS

SELECTION = "search/selection.json"
PER_DIAGNOSIS = 100
"""Steps of a search for each comparison with the exact hypergradient beyond the first."""


@dataclass(frozen=True)
class SearchPhase:
    """Trains weights on one half of the training data, selection variables on the other.

    Leaves selection.json ({modules, beta, alpha}) and trajectory.jsonl (alpha over the steps). The record's details
    hold how good the estimator was (`diagnostics`) and how far the variables came (`movement`: search.movement).
    """

    config: SearchConfig
    parallel: ClassVar[bool] = True
    name: str = "search"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Search, or go on from the last checkpoint."""
        train = self._settings(context.train)
        return run_within_memory(context, self.name, train, lambda train: self._search(context, train))

    def _search(self, context: PhaseContext, train: TrainConfig) -> PhaseResult:
        backbone = context.backbone(self.config.initialisation_seed)
        model = lora_model(
            backbone,
            context,
            r=self.config.components,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            use_rslora=self.config.rslora,
            target_modules=backbone.targets,
        )
        c, budget = self.config, weight_budget(self.config, len(backbone.targets))
        selection = selection_for(model, c.constraint, c.initial, budget, c.scope)
        first = float(selection.current[0, 0])
        trainer = self._trainer(model, selection, context, train, backbone.head_modules)
        rule = trainer.options.rank_rule
        trainer.allocation()  # a rule that does not fit these layers says so before the search, not after it,
        movement(selection, first, rule)  # and so does one whose level nobody knows
        drawn = selection.alpha().detach().cpu().clone()
        train_search(trainer, context, train)
        if torch.equal(selection.alpha().detach().cpu(), drawn):
            raise UserError(
                f"after {trainer.state.global_step} steps of search all selection weights are what they were before it",
                "search longer, with a smaller method.search.interval or a larger selection_learning_rate",
            )
        on_main(lambda: write_atomically(context.folder / SELECTION, json.dumps(_readable(selection))))
        return measured(
            trainer,
            SELECTION,
            backbone.source,
            {
                "diagnostics": _diagnostics(trainer.state.log_history),
                "movement": movement(selection, first, rule).to_dict(),
            },
        )

    def _trainer(
        self,
        model: PeftModel,
        selection: Selection,
        context: PhaseContext,
        train: TrainConfig,
        head_modules: Sequence[str],
    ) -> MeteredSearchTrainer:
        folder, seed = context.phase_folder(self.name), context.experiment.seed
        halves = search_split(
            context.splits.train, self.config.train_share, seed, context.task.stratify_column()
        )
        return MeteredSearchTrainer(
            model=model,
            args=training_arguments(
                train,
                folder / CHECKPOINTS,
                learning_rate=self.config.learning_rate,
                seed=seed,
                device=context.device,
                adam_beta1=self.config.betas[0],
                adam_beta2=self.config.betas[1],
            ),
            train_dataset=halves[0],
            validation_dataset=halves[1],
            selection=selection,
            options=self._options(context, len(selection.modules_selected), train, len(halves[0])),
            trajectory=folder / "trajectory.jsonl",
            **shared_arguments(self.name, context, train, head_modules),
        )

    def _settings(self, train: TrainConfig) -> TrainConfig:
        """The run's training settings with the search's own in their place."""
        c = self.config
        return replace(
            train,
            epochs=c.epochs,
            max_steps=c.max_steps,
            batch_size=c.batch_size,
            weight_decay=c.weight_decay,
            warmup=c.warmup,
            schedule=c.schedule,
            clip=c.clip,
        )

    def _options(
        self, context: PhaseContext, layers: int, train: TrainConfig, examples: int
    ) -> SearchOptions:
        c, rule, seed = self.config, rank_rule(self.config, layers), context.experiment.seed
        steps = train.max_steps or math.ceil(train.epochs * math.ceil(examples / train.batch_size))
        return SearchOptions(
            estimator=c.estimator.name,
            selection_optimizer=c.selection_optimizer,
            selection_learning_rate=c.selection_learning_rate,
            selection_betas=(c.selection_betas[0], c.selection_betas[1]),
            interval=c.interval,
            inner_steps=c.inner_steps,
            validation_batch_size=validation_batch(c.validation_batch_size, c.batch_size, context),
            group_by_length=c.group_by_length,
            seed=seed,
            diagnose_steps=diagnosed(c.diagnose_steps, steps),
            rule=rule.kind,
            threshold=rule.threshold,
            budget=rule.budget,
            minimum_rank=rule.minimum,
        )


def diagnosed(asked: Sequence[int], steps: int) -> tuple[int, ...]:
    """Steps of a search of so many at which the estimator is compared: those that were asked for, but of the default
    ones no more than one, and one more for every PER_DIAGNOSIS steps, as each costs about four steps."""
    usual = list(asked) == DIAGNOSE_STEPS
    return tuple(asked)[: 1 + steps // PER_DIAGNOSIS if usual else None]


def rank_rule(config: SearchConfig, layers: int) -> RankRule:
    """What makes ranks of the variables of `layers` layers. Raises UserError as `total_rank`."""
    minimum = config.minimum_rank if config.rule is Rule.budget else 0  # else the rule alone says how few
    return RankRule(config.rule, config.threshold, total_rank(config, layers), minimum)


def total_rank(config: SearchConfig, layers: int) -> int | None:
    """The budget of rule=budget over `layers` layers; none for the other rules.

    Raises:
        UserError: the mean rank is too small for a single component.
    """
    if config.rule is not Rule.budget:
        return None
    total = config.budget if config.mean_rank is None else rounded_total(config.mean_rank, layers)
    if total == 0:
        raise UserError(
            f"method.search.mean_rank={config.mean_rank} of {layers} layers keeps no component",
            f"say {1 / layers:.2g} or more",
        )
    return total


def weight_budget(config: SearchConfig, layers: int) -> float | None:
    """The sum of all selection weights under constraint=topk; none under the others."""
    if config.constraint is not Constraint.topk:
        return None
    return config.budget if config.mean_rank is None else config.mean_rank * layers


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
