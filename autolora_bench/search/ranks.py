"""From selection variables to one rank per layer: pure functions of an (L, K) table.

AutoLoRA, section 3 (threshold 1/k), its ablations, and a global budget. L layers, K components.

Ties are decided here, not by rounding: a value within `TOLERANCE` of its threshold counts as having reached
it. So at the start, when all alphas of a layer are equal, every component is kept, on any device and in any
precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from autolora_bench.config.search import Rule, level_of
from autolora_bench.errors import UserError, member, require

TOLERANCE = 1e-6
"""Relative to the threshold, or for `Rule.mean` to the layer's largest magnitude."""


@dataclass(frozen=True)
class RankAllocation:
    """The components that each layer keeps.

    Attributes:
        modules: L layer names inside the base model.
        kept: L rows of K flags.
    """

    modules: tuple[str, ...]
    kept: tuple[tuple[bool, ...], ...]

    @classmethod
    def from_ranks(cls, modules: Sequence[str], ranks: Sequence[int]) -> RankAllocation:
        """An allocation that was not searched for (uniform, random, shuffled): the first ranks[l] of layer l.

        Raises:
            UserError: not one rank for each name, a name twice, or a rank that is no whole number from 0 on.
        """
        require(
            len(ranks) == len(modules) == len({*modules}),
            f"{len(ranks)} ranks for {len(modules)} layers, {len({*modules})} names",
            "give each layer one rank",
        )
        odd = [f"{name} has {rank}" for name, rank in zip(modules, ranks, strict=True) if not _is_rank(rank)]
        require(not odd, f"ranks are whole numbers from 0 on: {', '.join(odd[:3])}", "round them first")
        components = max(ranks, default=0)
        return cls(tuple(modules), tuple(tuple(j < rank for j in range(components)) for rank in ranks))

    @property
    def ranks(self) -> tuple[int, ...]:
        """L ranks."""
        return tuple(sum(row) for row in self.kept)

    @property
    def kept_ranks(self) -> dict[str, int]:
        """The ranks of the layers that keep something, by their names."""
        return {name: rank for name, rank in zip(self.modules, self.ranks, strict=True) if rank}

    @property
    def total(self) -> int:
        """Sum of the ranks."""
        return sum(self.ranks)

    @property
    def mean(self) -> float:
        """Mean rank over the layers, those of rank 0 included."""
        return self.total / len(self.modules)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `ranks` and `total` are there for readers, `from_dict` derives them again."""
        ranks = dict(zip(self.modules, self.ranks, strict=True))
        kept = {name: list(row) for name, row in zip(self.modules, self.kept, strict=True)}
        return {"total": self.total, "ranks": ranks, "kept": kept}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RankAllocation:
        """Inverse of `to_dict`; raises UserError where the data has no table of kept components."""
        kept = data.get("kept")
        if not isinstance(kept, Mapping) or not kept:
            raise UserError(
                "a rank allocation needs 'kept': {layer: [flags]}", "run the threshold phase again"
            )
        return cls(tuple(kept), tuple(tuple(bool(flag) for flag in row) for row in kept.values()))


def _is_rank(value: object) -> bool:
    return isinstance(value, Integral) and int(value) >= 0


def rounded_total(mean_rank: float, layers: int) -> int:
    """The total rank over `layers` layers that a mean rank stands for, halves rounded up."""
    return int(mean_rank * layers + 0.5)


@dataclass(frozen=True)
class RankRule:
    """Decides which components each layer keeps.

    Attributes:
        kind: see `Rule`.
        threshold: for `Rule.threshold` only.
        budget: sum of the ranks, for `Rule.budget` only. Equal values are taken so that layers fill evenly: a
            layer's first choice goes before another layer's second, and earlier layers go first.
        minimum: every layer keeps at least this many (its highest; equal ones in component order).
    """

    kind: Rule
    threshold: float | None = None
    budget: int | None = None
    minimum: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "kind", member(Rule, self.kind, "rule")
        )  # callers without a type checker say its name

    def allocate(self, values: Tensor | Sequence[Sequence[float]], modules: Sequence[str]) -> RankAllocation:
        """The allocation; arguments and errors as of `allocate_ranks`."""
        try:
            table = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
        except (TypeError, ValueError) as error:
            raise UserError(f"the values are no table of numbers: {error}", "pass an (L, K) table") from error
        self._check(table, modules)
        order = table.argsort(dim=1, descending=True, stable=True)
        place = order.argsort(dim=1)
        guaranteed = place < self.minimum
        if self.budget is not None:
            kept = guaranteed | _within_budget(table, place, guaranteed, self.budget)
        else:
            kept = guaranteed | self._above(table)
        return RankAllocation(tuple(modules), tuple(tuple(row) for row in kept.tolist()))

    def _above(self, table: Tensor) -> Tensor:
        if self.kind is Rule.mean:
            slack = TOLERANCE * table.abs().amax(dim=1, keepdim=True)
            return table >= table.mean(dim=1, keepdim=True) - slack
        level = level_of(self.kind, table.shape[1], self.threshold)
        return table >= level - TOLERANCE * abs(level)

    def _check(self, table: Tensor, modules: Sequence[str]) -> None:
        kind, budget, minimum = self.kind, self.budget, self.minimum
        if table.ndim != 2 or table.shape[0] != len(modules) or table.numel() == 0:
            raise UserError(f"{tuple(table.shape)} values for {len(modules)} layers", "pass an (L, K) table")
        if not table.isfinite().all():
            raise UserError(
                "selection variables are not finite: the search diverged", "lower the learning rates"
            )
        if (kind is Rule.threshold) != (self.threshold is not None):
            raise UserError(
                f"rule={kind.value} with threshold={self.threshold}",
                "give a threshold with rule=threshold only",
            )
        if (kind is Rule.budget) != (budget is not None):
            raise UserError(f"rule={kind.value} with budget={budget}", "give a budget with rule=budget only")
        layers, components = table.shape
        if not 0 <= minimum <= components:
            raise UserError(
                f"minimum rank {minimum} with {components} components", f"choose 0 to {components}"
            )
        if budget is not None and not layers * minimum <= budget <= layers * components:
            limits = f"{layers * minimum} to {layers * components}"
            raise UserError(f"budget {budget} for {layers} layers", f"choose {limits}")


def allocate_ranks(
    values: Tensor | Sequence[Sequence[float]],
    modules: Sequence[str],
    rule: Rule | str = Rule.reciprocal,
    threshold: float | None = None,
    budget: int | None = None,
    minimum: int = 0,
) -> RankAllocation:
    """Decide which components each layer keeps.

    Args:
        values: (L, K) alpha, or beta where `rule.reads_beta`; a tensor, an array or lists.
        modules: L layer names.
        rule, threshold, budget, minimum: see `RankRule`.

    Raises:
        UserError: values are no table of numbers, are not finite, do not match the modules, or the options do not fit
            the rule.
    """
    return RankRule(member(Rule, rule, "rule"), threshold, budget, minimum).allocate(values, modules)


def _within_budget(table: Tensor, place: Tensor, guaranteed: Tensor, budget: int) -> Tensor:
    cells = [
        (-table[layer, j].item(), int(place[layer, j]), layer, j)
        for layer, j in (~guaranteed).nonzero().tolist()
    ]
    kept = torch.zeros_like(guaranteed)
    for _, _, layer, j in sorted(cells)[: budget - int(guaranteed.sum())]:
        kept[layer, j] = True
    return kept
