"""How far the searches of a report moved: ranks of a search that stayed where it began say little."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autolora_bench.config.search import FLAT_EFFECTIVE, FLAT_NEAR, Constraint, Rule, is_flat, level_of
from autolora_bench.report.artefacts import Floats, SearchResult, search_left
from autolora_bench.report.collect import Identity
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.runs import Run, grouped
from autolora_bench.report.scoreboard import Table

NEAR = 0.01
"""A component is near the threshold 1/k where alpha x k is within this of 1."""
HEAD = (
    "search",
    "seeds",
    "relative weight",
    "decided at",
    "effective components",
    "of",
    "near threshold",
    "flat",
)
NOTES = (
    "relative weight: lowest to highest of all layers and components at the end of the search, over what all had at "
    "its start; under the paper's constraint that is alpha x k.",
    "decided at: the relative weight from which on a component is kept. Far below 1, ranks sort components that the "
    "search has all but switched off. Empty where an older record leaves it open.",
    "effective components: exponential of the entropy of alpha, mean over layers; as many as there are where all are "
    "equal. near threshold: share of components within 1 % of what decides about them, which the next step may keep or "
    "drop.",
    f"flat: searches with at least {FLAT_EFFECTIVE:.0%} of the components effective, over all layers together, or "
    f"{FLAT_NEAR:.0%} near the threshold. Ranges are over seeds.",
)


@dataclass(frozen=True)
class EndOfSearch:
    """The end of one search, k components a layer."""

    components: int
    relative_min: float
    relative_max: float
    effective_components: float
    near_threshold: float | None
    flat: bool
    decided: tuple[float, float] | None = None
    """Lowest and highest relative weight, over the layers, from which on a component is kept; None where unknown."""


@dataclass(frozen=True)
class CellMovement:
    """The searches of one row on one task."""

    model: str
    task: str
    label: str
    searches: tuple[EndOfSearch, ...]

    @property
    def flat(self) -> int:
        """How many of them are flat."""
        return sum(search.flat for search in self.searches)


def movement_of(alpha: Floats) -> EndOfSearch | None:
    """The movement of an (L, K) table of selection weights; None where its layers are no distributions."""
    components = alpha.shape[1]
    if alpha.size == 0 or (alpha < 0).any() or not np.allclose(alpha.sum(axis=1), 1.0, atol=1e-3):
        return None
    scaled = alpha * components
    entropy = -(alpha * np.log(np.where(alpha > 0, alpha, 1.0))).sum(axis=1)
    effective = float(np.exp(entropy).mean())
    near = float((np.abs(scaled - 1.0) <= NEAR).mean())
    flat = is_flat(near, float(np.exp(entropy.mean())) / components)  # every layer's weights sum to 1
    return EndOfSearch(components, float(scaled.min()), float(scaled.max()), effective, near, flat)


def cell_movements(tables: Sequence[Table], folders: Mapping[Identity, Path]) -> list[CellMovement]:
    """Every cell whose runs searched: what their records say, of older ones what their selection says."""
    found = []
    for table in tables:
        for row in table.rows:
            for task, runs in row.by_task.items():
                searches = tuple(one for run in runs if (one := _movement(run, folders)) is not None)
                if searches:
                    found.append(CellMovement(table.model, task, row.label, searches))
    return found


def movement_table(cells: Sequence[CellMovement]) -> PlainTable | None:
    """The table; None where no run searched."""
    return PlainTable("Movement of the search", HEAD, tuple(map(_row, cells)), NOTES) if cells else None


def movement_warnings(cells: Sequence[CellMovement]) -> list[str]:
    """A line per model some of whose searches were flat."""
    models = grouped((cell for cell in cells if cell.flat), lambda cell: cell.model)
    return [_warning(model, flat) for model, flat in models.items()]


def _warning(model: str, flat: Sequence[CellMovement]) -> str:
    rows: dict[str, list[str]] = {}
    for cell in flat:
        part = f" ({cell.flat} of {len(cell.searches)})" if cell.flat < len(cell.searches) else ""
        rows.setdefault(cell.label, []).append(f"{cell.task}{part}")
    where = "; ".join(f"{label} on {', '.join(tasks)}" for label, tasks in rows.items())
    moved = _span([end for cell in flat for search in cell.searches if search.flat for end in _ends(search)])
    return (
        f"WARNING flat searches with {model}: {where}. The variables hardly moved (relative weights within {moved}): "
        "their ranks say little. Their rate is method.search.selection_learning_rate; the weights' in the search, "
        "method.search.learning_rate, does not follow method.learning_rate."
    )


def _movement(run: Run, folders: Mapping[Identity, Path]) -> EndOfSearch | None:
    record = run.completed
    phase = record.phase("search") if record else None
    if record is None or phase is None:
        return None
    stated = _stated(phase.details.get("movement"), run.setting("method", "search", "components"))
    decided = (stated.decided if stated else None) or _by_rule(run)
    result = None if stated and decided else search_left(record, folders, [])
    found = stated or (movement_of(result.alpha) if result else None)
    return replace(found, decided=decided or (_by_budget(result, run) if result else None)) if found else None


def _by_rule(run: Run) -> tuple[float, float] | None:
    """Of a softmax, where the rule says it by itself."""
    names = ("constraint", "rule", "components", "threshold")
    constraint, rule, components, threshold = (run.setting("method", "search", name) for name in names)
    by_itself = rule in (Rule.reciprocal, Rule.half) or (
        rule == Rule.threshold and isinstance(threshold, int | float)
    )
    if constraint != Constraint.softmax or not by_itself or type(components) is not int:
        return None
    level = level_of(Rule(rule), components, threshold) * components
    return level, level


def _by_budget(result: SearchResult, run: Run) -> tuple[float, float] | None:
    """Of a softmax, half way between the last component that the budget keeps, above every layer's minimum, and the
    first that it does not; None where it keeps none above (search.movement)."""
    names = ("constraint", "rule", "minimum_rank")
    constraint, rule, minimum = (run.setting("method", "search", name) for name in names)
    if constraint != Constraint.softmax or rule != Rule.budget or type(minimum) is not int:
        return None
    place = np.argsort(np.argsort(-result.alpha, axis=1, kind="stable"), axis=1)
    inside, outside = result.alpha[result.kept & (place >= minimum)], result.alpha[~result.kept]
    if not inside.size:
        return None
    ends = [inside.min(), *outside.max(keepdims=True, initial=0.0)] if outside.size else [inside.min()]
    level = float(np.mean(ends)) * result.alpha.shape[1]
    return level, level


def _stated(said: object, components: object) -> EndOfSearch | None:
    """What a record of today says (search.movement): weights relative to their start, as alpha x k is under softmax."""
    if not isinstance(said, dict) or type(components) is not int:
        return None
    weights, layers = said.get("relative_weight"), said.get("effective_components")
    if not isinstance(weights, dict) or not isinstance(layers, dict):
        return None
    numbers = [weights.get("min"), weights.get("max"), layers.get("mean")]
    known = [float(value) for value in numbers if isinstance(value, int | float)]
    near, flat = said.get("near_threshold"), said.get("flat")
    if len(known) < len(numbers) or not isinstance(flat, bool):
        return None
    share = float(near) if isinstance(near, int | float) else None
    level = said.get("decision_level")
    ends = [level.get("min"), level.get("max")] if isinstance(level, dict) else []
    low, high = (float(end) if isinstance(end, int | float) else None for end in ends or (None, None))
    decided = (low, high) if low is not None and high is not None else None
    return EndOfSearch(components, known[0], known[1], known[2], share, flat, decided)


def _row(cell: CellMovement) -> tuple[str, ...]:
    searches = cell.searches
    near = [search.near_threshold * 100 for search in searches if search.near_threshold is not None]
    components = sorted({search.components for search in searches})
    return (
        f"{cell.model}, {cell.task}, {cell.label}",
        str(len(searches)),
        _span([value for search in searches for value in _ends(search)]),
        _span(decided) if (decided := [end for search in searches for end in search.decided or ()]) else "",
        _span([search.effective_components for search in searches]),
        " or ".join(map(str, components)),
        f"{_span(near, 0)} %" if near else "",
        "" if not cell.flat else "yes" if cell.flat == len(searches) else f"{cell.flat} of {len(searches)}",
    )


def _ends(search: EndOfSearch) -> tuple[float, float]:
    return search.relative_min, search.relative_max


def _span(values: Sequence[float], decimals: int = 2) -> str:
    low, high = (f"{value:.{decimals}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
