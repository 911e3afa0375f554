"""LoRA with learnt learning rates: search of the rates, then LoRA trained with them on all training data.

Trained, without the head: rank x (D + O) for every layer, D inputs and O outputs, as LoRA.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import PeftModel

from autolora_bench.config.method import Allocation
from autolora_bench.config.rates import Also, Granularity, LearnedRatesConfig, RateOrder
from autolora_bench.config.train import TrainConfig
from autolora_bench.data.splits import search_split
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult, run_within_memory
from autolora_bench.methods.finetuning import Adapt
from autolora_bench.methods.lora import Lora
from autolora_bench.methods.ranked import draw_seed
from autolora_bench.methods.search_training import (
    MeteredRateTrainer,
    measured,
    shared_arguments,
    train_search,
    validation_batch,
)
from autolora_bench.models.load import Backbone
from autolora_bench.processes import on_main
from autolora_bench.record import write_atomically
from autolora_bench.search.layers import lora_layers
from autolora_bench.search.rate_trainer import RateOptions
from autolora_bench.search.rates import LayerRates, SharedMultiples
from autolora_bench.training.arguments import training_arguments
from autolora_bench.training.checkpoints import CHECKPOINTS
from autolora_bench.training.lora_optimizers import MakeOptimizer, with_rates
from autolora_bench.training.weight_groups import WeightGroups, adamw

RATES = "rates/rates.json"


@dataclass(frozen=True)
class LearnedRatesLora(Lora):
    """Rates learnt on two halves of the training data, then LoRA trained with them on all of it."""

    config: LearnedRatesConfig
    training_name: ClassVar[str] = "retrain"

    def before(self) -> Sequence[Phase]:
        """First values, where the variant's start computes any, and the search of the rates from there."""
        return [*super().before(), RatePhase(self.config, super().adapt)]

    def adapt(self, backbone: Backbone, context: PhaseContext) -> PeftModel:
        """LoRA of one rank, with the alpha that was learnt where it was."""
        alpha = self.config.alpha * read_also(context.folder / RATES).get(Also.alpha, 1.0)
        return Lora(replace(self.config, alpha=alpha)).adapt(backbone, context)

    def optimizer(self, context: PhaseContext) -> MakeOptimizer:
        """AdamW with the rates that the search left, in the order that the method asks for, and its weight decay."""
        seed = draw_seed(Allocation.shuffled, context.experiment.task.name, context.experiment.seed)
        decay = read_also(context.folder / RATES).get(Also.weight_decay, 1.0)
        return with_rates(multiples_for(self.config, read_rates(context.folder / RATES), seed), decay)


@dataclass(frozen=True)
class RatePhase:
    """Trains weights on one half of the training data, their rates on the other.

    Leaves rates.json ({granularity, multiples: layer -> of A, of B, also: name -> multiple}) and trajectory.jsonl. The
    record's details hold the smallest, the geometric mean and the largest multiple of a rate, that of B over A, and the
    value of what else was learnt.
    """

    config: LearnedRatesConfig
    adapt: Adapt
    parallel: ClassVar[bool] = True
    name: str = "rates"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Search, or go on from the last checkpoint."""
        c = self.config.rates
        train = replace(context.train, epochs=c.epochs, max_steps=c.max_steps, batch_size=c.batch_size)
        return run_within_memory(context, self.name, train, lambda train: self._search(context, train))

    def _search(self, context: PhaseContext, train: TrainConfig) -> PhaseResult:
        c = self.config.rates
        backbone = context.backbone(c.initialisation_seed)
        model: Any = self.adapt(backbone, context)
        rates = LayerRates(model, c.granularity, c.limit)
        shared = SharedMultiples(model, [Also(name) for name in c.also], c.limit)
        trainer = self._trainer(model, rates, shared, context, train, backbone)
        train_search(trainer, context, train)
        found = _readable(rates, shared, list(lora_layers(model)))
        on_main(lambda: write_atomically(context.folder / RATES, json.dumps(found, indent=1)))
        decay = train.weight_decay if self.config.weight_decay is None else self.config.weight_decay
        starts = {Also.weight_decay: decay, Also.alpha: self.config.alpha}
        also = {name.value: starts[name] * shared.of(name) for name in shared.names}
        return measured(trainer, RATES, backbone.source, {**_summary(found["multiples"]), **also})

    def _trainer(
        self,
        model: Any,
        rates: LayerRates,
        shared: SharedMultiples,
        context: PhaseContext,
        train: TrainConfig,
        backbone: Backbone,
    ) -> MeteredRateTrainer:
        c, folder, seed = self.config.rates, context.phase_folder(self.name), context.experiment.seed
        halves = search_split(context.splits.train, c.train_share, seed, context.task.stratify_column())
        arguments = training_arguments(
            train,
            folder / CHECKPOINTS,
            learning_rate=self.config.learning_rate,
            seed=seed,
            device=context.device,
        )
        groups = WeightGroups(backbone.head_modules, self.config.weight_decay)
        return MeteredRateTrainer(
            model=model,
            args=arguments,
            optimizers=(adamw(model, arguments, groups), None),
            train_dataset=halves[0],
            validation_dataset=halves[1],
            rates=rates,
            shared=shared,
            options=RateOptions(
                exact=c.exact,
                learning_rate=c.learning_rate,
                betas=(c.betas[0], c.betas[1]),
                interval=c.interval,
                inner_steps=c.inner_steps,
                validation_batch_size=validation_batch(c.validation_batch_size, c.batch_size, context),
                seed=seed,
            ),
            trajectory=folder / "trajectory.jsonl",
            **shared_arguments(self.name, context, train, backbone.head_modules),
        )


Multiples = dict[str, tuple[float, float]]
"""Layer -> multiples of the training's rate for A and for B."""


def read_rates(path: Path) -> Multiples:
    """What the search left."""
    found = json.loads(path.read_text(encoding="utf-8"))["multiples"]
    return {layer: (of_a, of_b) for layer, (of_a, of_b) in found.items()}


def read_also(path: Path) -> dict[str, float]:
    """What the search left beside rates: multiples by name."""
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8")).get("also", {})
    return found


def multiples_for(config: LearnedRatesConfig, learnt: Multiples, seed: int) -> Multiples:
    """The learnt multiples as the final training uses them: permuted over the layers, scaled to geometric mean 1, or as
    they are; `seed` is that of the permutation."""
    layers, values = list(learnt), list(learnt.values())
    if config.order is RateOrder.shuffled:
        drawn = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed)).tolist()
        values = [values[i] for i in drawn]
    mean = _mean([rate for pair in values for rate in pair]) if config.rates.keep_mean else 1.0
    return {layer: (a / mean, b / mean) for layer, (a, b) in zip(layers, values, strict=True)}


def _mean(rates: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, rates)) / len(rates))


def _readable(rates: LayerRates, shared: SharedMultiples, layers: Sequence[str]) -> dict[str, Any]:
    rows = rates.multiples().double().cpu().tolist()
    rows = rows * len(layers) if rates.granularity is Granularity.model else rows
    names = rates.layers or layers
    return {
        "granularity": rates.granularity.name,
        "multiples": {name: [row[0], row[-1]] for name, row in zip(names, rows, strict=True)},
        **({"also": {name.value: shared.of(name) for name in shared.names}} if shared.names else {}),
    }


def _summary(multiples: dict[str, list[float]]) -> dict[str, Any]:
    every = [rate for pair in multiples.values() for rate in pair]
    return {
        "rate_multiples": {"smallest": min(every), "mean": _mean(every), "largest": max(every)},
        "rate_of_b_over_a": _mean([b / a for a, b in multiples.values()]),
    }
