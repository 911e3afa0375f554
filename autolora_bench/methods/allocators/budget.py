"""What every allocator's ranks must sum to."""

from dataclasses import dataclass

from torch import Tensor

from autolora_bench.config.allocators import AllocatorConfig
from autolora_bench.config.search import Rule
from autolora_bench.errors import UserError
from autolora_bench.search import RankAllocation, allocate_ranks


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
        total = int(config.mean_rank * layers + 0.5) if config.total is None else config.total
        least, most = config.minimum_rank * layers, config.maximum_rank * layers
        if not max(least, 1) <= total <= most:
            raise UserError(
                f"a total rank of {total} over {layers} layers whose ranks go from {config.minimum_rank} "
                f"to {config.maximum_rank}",
                f"say method.total={max(least, 1)} to {most}, or other bounds (method.minimum_rank, "
                "method.maximum_rank)",
            )
        return cls(tuple(modules), total, config.minimum_rank, config.maximum_rank)

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
