"""Do two seeds find the same ranks? Agreement of searches that differ in their seed alone.

A component j of a layer is the j-th column of its LoRA factors. It is the same component in two runs only if both
start from the same LoRA values: `method.search.initialisation_seed` set to one number. Otherwise component j of
one run has nothing to do with component j of another, so that correlations of alpha and agreement of kept
components compare unrelated things and must come out at chance; then only figures that do not name components
count: ranks, total budget, and alphas sorted within each layer.

L layers, K components, S seeds. Pure numpy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
DRAWS = 2000


@dataclass(frozen=True)
class Stability:
    """Figures over the seeds of one cell; means over all pairs of seeds; None where not defined."""

    seeds: int
    shared: bool
    """Whether components have an identity across the seeds."""
    alpha_pearson: float | None
    alpha_spearman: float | None
    """Of all L x K alphas. Means something only with shared initialisation."""
    sorted_pearson: float | None
    sorted_spearman: float | None
    """Of alphas sorted within each layer, minus the mean over layers at each place: do the same layers have a
    peaked or a flat profile?"""
    rank_pearson: float | None
    rank_spearman: float | None
    """Of the L ranks."""
    rank_p: float | None
    """Share of random orders of the layers with at least this Pearson correlation of ranks."""
    kept_agreement: float | None
    """Share of the L x K components that both seeds keep or both drop. Needs shared initialisation."""
    kept_chance: float | None
    """The same with each layer's kept components drawn at random: ranks as found, identities forgotten."""
    kept_p: float | None
    """Share of such draws with at least this agreement."""
    budgets: tuple[int, ...]
    """Total rank of every seed."""
    layers: int

    @property
    def budget_mean(self) -> float:
        """Mean total rank."""
        return float(np.mean(self.budgets))

    @property
    def budget_std(self) -> float | None:
        """Sample standard deviation of the total rank over seeds."""
        return float(np.std(self.budgets, ddof=1)) if len(self.budgets) > 1 else None


def stability(
    alphas: Sequence[Floats], kept: Sequence[Flags], *, shared: bool, draws: int = DRAWS, seed: int = 0
) -> Stability:
    """Compare the searches of several seeds.

    Args:
        alphas: one (L, K) table of selection weights per seed, layers in the same order.
        kept: one (L, K) table per seed, true where the component was kept.
        shared: whether all seeds started from the same LoRA values, so that components have an identity.
        draws: random draws of the permutation tests.
        seed: of those draws.

    Raises:
        ValueError: the tables differ in shape.
    """
    if len({table.shape for table in [*alphas, *kept]}) > 1:
        raise ValueError("selections of different shape cannot be compared")
    ranks = [flags.sum(axis=1).astype(np.float64) for flags in kept]
    profiles = [_profile(alpha) for alpha in alphas]
    flat = [alpha.ravel() for alpha in alphas]
    random = np.random.default_rng(seed)
    agreement, chance, kept_p = _kept_test(kept, draws, random)
    return Stability(
        seeds=len(alphas),
        shared=shared,
        alpha_pearson=_over_pairs(flat, pearson),
        alpha_spearman=_over_pairs(flat, spearman),
        sorted_pearson=_over_pairs(profiles, pearson),
        sorted_spearman=_over_pairs(profiles, spearman),
        rank_pearson=_over_pairs(ranks, pearson),
        rank_spearman=_over_pairs(ranks, spearman),
        rank_p=_rank_test(ranks, draws, random),
        kept_agreement=agreement,
        kept_chance=chance,
        kept_p=kept_p,
        budgets=tuple(int(rank.sum()) for rank in ranks),
        layers=alphas[0].shape[0] if alphas else 0,
    )


def pearson(first: Floats, second: Floats) -> float | None:
    """Pearson correlation; None where a side is constant."""
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    scale = max(float(np.abs(first).max()) * float(np.abs(second).max()), 1e-300) * first.size
    return None if size <= 1e-12 * scale else float(np.clip((a @ b) / size, -1.0, 1.0))


def spearman(first: Floats, second: Floats) -> float | None:
    """Spearman correlation, ties sharing their mean place; None where a side is constant."""
    return pearson(places(first), places(second))


def places(values: Floats) -> Floats:
    """Places 1..n in ascending order; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse.ravel()], dtype=np.float64)


def _profile(alpha: Floats) -> Floats:
    """Alphas sorted within each layer, minus the layers' mean at each place: sorting alone correlates nothing."""
    ordered = -np.sort(-alpha, axis=1)
    return np.asarray((ordered - ordered.mean(axis=0)).ravel(), dtype=np.float64)


def _over_pairs(values: Sequence[Floats], measure: Callable[[Floats, Floats], float | None]) -> float | None:
    found = [measure(a, b) for a, b in combinations(values, 2)]
    defined = [value for value in found if value is not None]
    return float(np.mean(defined)) if defined else None


def _agreement(kept: Sequence[Flags]) -> float:
    return float(np.mean([np.mean(a == b) for a, b in combinations(kept, 2)]))


def _kept_test(kept: Sequence[Flags], draws: int, random: np.random.Generator) -> tuple[float | None, ...]:
    """Agreement, agreement by chance, and p: components permuted within each layer, independently for each seed."""
    if len(kept) < 2:
        return None, None, None
    observed = _agreement(kept)
    drawn = np.array([_agreement([random.permuted(flags, axis=1) for flags in kept]) for _ in range(draws)])
    return (
        observed,
        float(drawn.mean()),
        float((1 + np.count_nonzero(drawn >= observed - 1e-12)) / (1 + draws)),
    )


def _rank_test(ranks: Sequence[Floats], draws: int, random: np.random.Generator) -> float | None:
    """Layers permuted, independently for each seed."""
    observed = _over_pairs(ranks, pearson)
    if observed is None:
        return None
    drawn = [_over_pairs([random.permutation(rank) for rank in ranks], pearson) or 0.0 for _ in range(draws)]
    return float((1 + np.count_nonzero(np.array(drawn) >= observed - 1e-12)) / (1 + draws))
