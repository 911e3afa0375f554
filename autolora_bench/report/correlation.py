"""Correlation of what several runs found in the same layers, and how often chance reaches it."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autolora_bench.report.numerals import p_value

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
DRAWS = 2000
"""Random draws of a permutation test."""
SEED = 0
"""Of every test's own generator, so that every table gives the same figures the same p."""


def pearson(first: Floats, second: Floats) -> float | None:
    """Pearson correlation; None where a side is constant."""
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    scale = max(float(np.abs(first).max()) * float(np.abs(second).max()), 1e-300) * first.size
    return None if size <= 1e-12 * scale else float(np.clip((a @ b) / size, -1.0, 1.0))


def spearman(first: Floats, second: Floats) -> float | None:
    """Spearman correlation, ties sharing their mean place; None where a side is constant."""
    return pearson(*(pd.Series(side).rank().to_numpy() for side in (first, second)))


def over_pairs(values: Sequence[Floats], measure: Callable[[Floats, Floats], float | None]) -> float | None:
    """Mean of a measure over all pairs where it is defined; None where it nowhere is."""
    found = [measure(a, b) for a, b in combinations(values, 2)]
    defined = [value for value in found if value is not None]
    return float(np.mean(defined)) if defined else None


def layers_p(ranks: Sequence[Floats], draws: int = DRAWS) -> float | None:
    """Share of random orders of the layers, drawn for each run alone, with at least this mean correlation.

    Runs whose ranks are equal in all layers correlate with none. None where no two are left.

    Args:
        ranks: L ranks of every run.
        draws: random draws.
    """
    observed = over_pairs(ranks, pearson)
    if observed is None:
        return None
    varied = standardised(np.stack([rank for rank in ranks if pearson(rank, rank) is not None]))
    random = np.random.default_rng(SEED)
    drawn = random.permuted(np.broadcast_to(varied, (draws, *varied.shape)), axis=-1)
    first, second = np.triu_indices(drawn.shape[1], 1)
    return share_reaching(correlations(drawn)[:, first, second].mean(axis=-1), observed)


def standardised(values: Floats) -> Floats:
    """Rows of mean 0 and norm 1, whose products are Pearson correlations. No row may be constant."""
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=-1, keepdims=True))


def correlations(standard: Floats) -> Floats:
    """(..., runs, runs) out of (..., runs, layers) of standardised rows."""
    return np.asarray(standard @ np.swapaxes(standard, -1, -2))


def share_reaching(drawn: Floats, observed: float) -> float:
    """A permutation test's p: the share of draws that reach what was observed, itself one of them."""
    return float((1 + np.count_nonzero(drawn >= observed - 1e-12)) / (1 + drawn.size))


def shown(value: float | None) -> str:
    """A correlation in a table; empty where it is not defined."""
    return "" if value is None else f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def shown_p(value: float | None) -> str:
    """A p in a table; empty where there is none."""
    return "" if value is None else p_value(value, 3)
