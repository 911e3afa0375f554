"""LoRA with ranks that are not learnt in the run: controls for learnt ranks, and ranks from elsewhere.

A control answers one question about the run that it is compared with. Uniform: is its total what counts? Shuffled: do
its very ranks belong to their layers? Random: are ranks of the same total and spread as good wherever they come from?
Random and shuffled ranks are drawn anew for every task and seed: tasks that shared a draw would be one comparison.

Trained, without the head: sum of r_l (D_l + O_l) over the layers, D inputs and O outputs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from autolora_bench.config.method import Allocation, PlantedRanksConfig, RankedLoraConfig
from autolora_bench.config.ranks import read_ranks
from autolora_bench.config.search import Rule
from autolora_bench.config.truth import reversed_ranks
from autolora_bench.errors import UserError, require
from autolora_bench.methods.base import Phase, PhaseContext, PhaseResult
from autolora_bench.methods.low_rank import LowRank
from autolora_bench.methods.ranked_model import write_allocation
from autolora_bench.models.adapted_layers import matched_ranks
from autolora_bench.search import RankAllocation, allocate_ranks
from autolora_bench.tasks.recovery import Recovery

ALLOCATED_RANKS = "allocate/ranks.json"
AT_ONCE, DRAWS = 4096, 200
"""Allocations that are drawn together, and how often at most."""


@dataclass(frozen=True)
class RankedLora(LowRank):
    """Ranks by a rule or from a source, then LoRA trained with them."""

    config: RankedLoraConfig
    ranks_file: ClassVar[str] = ALLOCATED_RANKS

    def before(self) -> Sequence[Phase]:
        """The allocation; the ranks that were used stay with the run, whatever becomes of the source."""
        return [AllocatePhase(self.config), *super().before()]


@dataclass(frozen=True)
class AllocatePhase:
    """Gives every target layer its rank; leaves ranks.json."""

    config: RankedLoraConfig
    parallel: ClassVar[bool] = False
    name: str = "allocate"

    def run(self, context: PhaseContext) -> PhaseResult:
        """Take, read or draw the ranks."""
        c, experiment = self.config, context.experiment
        source = self._source(context)
        modules = context.backbone().targets
        seed = experiment.seed if c.allocation_seed is None else c.allocation_seed
        drawn = draw_seed(c.allocation, experiment.task.name, seed)
        ranks = self._planted(context, modules) or ranks_for(c, modules, source, drawn)
        write_allocation(ranks, context.folder / ALLOCATED_RANKS)
        details = {"total_rank": ranks.total, "mean_rank": ranks.mean, "origin": c.origin}
        return PhaseResult(artefact=ALLOCATED_RANKS, details=details)

    def _planted(self, context: PhaseContext, modules: Sequence[str]) -> RankAllocation | None:
        """The true ranks, or their reverse; none for a method that has ranks of its own.

        Raises:
            UserError: an update is planted in a layer that is not adapted.
        """
        if not isinstance(self.config, PlantedRanksConfig):
            return None
        assert isinstance(context.task, Recovery)
        outside = [name for name, rank in context.task.truth.items() if rank and name not in modules]
        require(
            not outside,
            f"method={self.config.name}, and {len(outside)} layers have planted ranks and no adapter: "
            f"{', '.join(outside[:2])}",
            "say model.targets=all-linear, or leave task.layers out",
        )
        truth = [context.task.truth[name] for name in modules]
        turned = self.config.allocation is Allocation.reversed
        return RankAllocation.from_ranks(modules, reversed_ranks(truth) if turned else truth)

    def _source(self, context: PhaseContext) -> dict[str, int] | None:
        """Ranks that are part of the configuration are taken from there: their file may have changed since."""
        c, experiment = self.config, context.experiment
        if c.cell is None or c.source is None:
            return c.ranks or None
        try:
            found = read_ranks(c.source, c.source_task or experiment.task.name, experiment.seed)
        except UserError as error:
            if c.reference is None:
                raise
            raise UserError(
                f"{c.name} is compared with {c.reference}, which has no finished run of these settings and seed: "
                f"{error.what}",
                f"run the same with method={c.reference} first; or name one by method.source=FOLDER",
            ) from error
        c.origin = found.origin
        if found.cell != c.cell:
            raise UserError(f"{c.source} holds {found.cell}, not {c.cell}", "run the command again")
        return found.ranks


def ranks_for(
    config: RankedLoraConfig, modules: Sequence[str], source: dict[str, int] | None, seed: int
) -> RankAllocation:
    """The allocation over `modules`, in the model's order.

    uniform: layer i of L gets floor((i + 1) T / L) - floor(i T / L) of the total T: ranks differ by one at most, and
    the larger ones are spread over the depth. random, with a source: ranks drawn from the source's, with their total
    and spread (`alike`); without: T of the L x components components drawn without replacement, every layer keeping at
    least minimum_rank. shuffled: the source's ranks, permuted over all layers.

    Args:
        config: the allocation and its settings.
        modules: L layer names.
        source: `layer_key` -> rank, where the method has a source.
        seed: of random and shuffled.

    Raises:
        UserError: the source's layers are not the model's, or the total does not fit.
    """
    layers = len(modules)
    total = sum(source.values()) if source else config.total or config.rank * layers
    if config.allocation is Allocation.uniform:
        ranks = [(i + 1) * total // layers - i * total // layers for i in range(layers)]
        return RankAllocation.from_ranks(modules, ranks)
    generator = torch.Generator().manual_seed(seed)
    if config.allocation is Allocation.random and source:
        return RankAllocation.from_ranks(modules, alike(matched_ranks(source, modules), generator))
    if config.allocation is Allocation.random:
        values = torch.rand(layers, config.components, generator=generator, dtype=torch.float64)
        return allocate_ranks(values, modules, Rule.budget, budget=total, minimum=config.minimum_rank)
    ranks = matched_ranks(source or {}, modules)
    if config.allocation is Allocation.shuffled:
        ranks = [ranks[i] for i in torch.randperm(layers, generator=generator).tolist()]
    return RankAllocation.from_ranks(modules, ranks)


def draw_seed(allocation: Allocation, task: str, seed: int) -> int:
    """A seed of its own for every allocation, task and seed, below 2^63."""
    digest = hashlib.sha256(f"{allocation.name}/{task}/{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def alike(ranks: Sequence[int], generator: torch.Generator) -> list[int]:
    """L ranks drawn independently from the L given, until sum and sum of squares, so mean and deviation, are theirs.

    Where that is too rare (a permutation of the given ranks always fits, but few may), a permutation.
    """
    given = torch.tensor(list(ranks))
    wanted = (int(given.sum()), int(given.square().sum()))
    for _ in range(DRAWS):
        drawn = given[torch.randint(len(given), (AT_ONCE, len(given)), generator=generator)]
        fits = (drawn.sum(dim=1) == wanted[0]) & (drawn.square().sum(dim=1) == wanted[1])
        if fits.any():
            return [int(rank) for rank in drawn[int(fits.int().argmax())]]
    return [int(rank) for rank in given[torch.randperm(len(given), generator=generator)]]
