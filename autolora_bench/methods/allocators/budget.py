"""What every allocator's ranks must sum to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.config.search import Rule
from autolora_bench.errors import UserError, require
from autolora_bench.search import RankAllocation, allocate_ranks
from autolora_bench.search.ranks import rounded_total


@dataclass(frozen=True)
class Budget:
    """The ranks' sum over L layers, and each one's bounds."""

    modules: tuple[str, ...]
    """L layer names, in the model's order."""
    total: int
    minimum: int
    maximum: int

    @classmethod
    def of(cls, config: AllocatorConfig, modules: list[str]) -> "Budget":
        """The budget of a configuration on the layers of a model.

        Raises:
            UserError: no ranks within the bounds have that sum.
        """
        layers = len(modules)
        total = rounded_total(config.mean_rank, layers) if config.total is None else config.total
        least, most = config.minimum_rank * layers, config.maximum_rank * layers
        if not max(least, 1) <= total <= most:
            raise UserError(
                f"a total rank of {total} over {layers} layers whose ranks go from {config.minimum_rank} "
                f"to {config.maximum_rank}",
                f"say method.total={max(least, 1)} to {most}, or other bounds (method.minimum_rank, "
                "method.maximum_rank)",
            )
        return cls(tuple(modules), total, config.minimum_rank, config.maximum_rank)

    def check(self, ranks: RankAllocation) -> None:
        """Raises UserError unless the ranks are of these layers, within the bounds, and at most the budget."""
        others = sorted({*ranks.modules} ^ {*self.modules})
        require(
            not others,
            f"the allocator's ranks are not of the layers that are adapted: {', '.join(others[:3])}",
            "give each of budget.modules a rank, 0 for none",
        )
        outside = [
            f"{name} has {rank}"
            for name, rank in zip(ranks.modules, ranks.ranks, strict=True)
            if not self.minimum <= rank <= self.maximum
        ]
        require(
            not outside,
            f"the allocator's ranks are to lie from {self.minimum} to {self.maximum}: {', '.join(outside[:3])}",
            "let it keep to budget.minimum and budget.maximum, or say other bounds (method.minimum_rank, "
            "method.maximum_rank)",
        )
        require(
            ranks.total <= self.total,
            f"the allocator's ranks sum to {ranks.total}, the budget is {self.total}",
            "let it keep to budget.total: budget.proportional and budget.largest do",
        )

    def largest(self, values: Tensor) -> RankAllocation:
        """The components with the largest values over all layers, as many as the budget.

        Equal values, zeros among them, fill layers evenly: a layer's first before another's second, earlier layers
        first.

        Args:
            values: (L, K), K at least `maximum`; the smallest of a layer beyond `maximum` are never kept.

        Raises:
            UserError: a value is not finite.
        """
        highest = values.sort(dim=1, descending=True).values[:, : self.maximum]
        return allocate_ranks(highest, self.modules, Rule.budget, budget=self.total, minimum=self.minimum)

    def proportional(self, scores: Tensor) -> RankAllocation:
        """Ranks in proportion to the layers' scores, within the bounds, with exactly the budget as their sum.

        Layer l's share is c x score_l, cut to the bounds, with the one c for which the shares sum to the budget. Shares
        become ranks by the largest remainder: each is rounded down, and what is then missing goes, one each, to the
        layers with the largest fractions, of equal ones to the earlier. Layers of score 0 get the smallest rank, and
        evenly what the others cannot take.

        Args:
            scores: (L,), none below 0.

        Raises:
            UserError: not one score for each layer, or one that is not finite or below 0.
        """
        values = scores.detach().double().cpu()
        require(
            values.shape == (len(self.modules),),
            f"scores of shape {tuple(values.shape)} for {len(self.modules)} layers",
            "give each layer one score",
        )
        require(
            bool(values.isfinite().all()),
            "a layer's score is not finite",
            "check the model's weights and the training data",
        )
        require(
            bool((values >= 0).all()),
            f"a layer's score is {float(values.min()):g}, and ranks are in proportion to scores from 0 on",
            "shift them, or take another measure",
        )
        shares = self._shares(values)
        ranks = shares.floor()
        largest = (shares - ranks).sort(descending=True, stable=True).indices
        ranks[largest[: self.total - int(ranks.sum())]] += 1
        return RankAllocation.from_ranks(self.modules, [int(rank) for rank in ranks.tolist()])

    def _shares(self, scores: Tensor) -> Tensor:
        positive = scores > 0
        others = int((~positive).sum())
        most = torch.where(positive, float(self.maximum), float(self.minimum))
        if others and float(most.sum()) <= self.total:
            return torch.where(positive, most, self.minimum + (self.total - most.sum()) / others)
        kinks = torch.cat([bound / scores[positive] for bound in (self.minimum, self.maximum)]).sort().values
        factors = torch.cat([kinks.new_zeros(1), kinks])
        sums = torch.stack([self._cut(factor * scores).sum() for factor in factors])
        above = int((sums < self.total).sum())
        if above == 0:
            return self._cut(0 * scores)
        low, high = factors[above - 1], factors[min(above, len(factors) - 1)]
        rise = sums[min(above, len(factors) - 1)] - sums[above - 1]
        part = (self.total - sums[above - 1]) / rise if rise > 0 else 0.0
        return self._cut((low + part * (high - low)) * scores)

    def _cut(self, shares: Tensor) -> Tensor:
        return shares.clamp(self.minimum, self.maximum)
