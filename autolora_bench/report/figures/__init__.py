"""Figures, each a function from tables to pictures; one file per subject."""

from collections.abc import Sequence

from autolora_bench.report.costs import CostTable
from autolora_bench.report.figures.arena import arena_figures
from autolora_bench.report.figures.costs import cost_figures
from autolora_bench.report.figures.quality import curve_figures, pareto_figures
from autolora_bench.report.figures.ranks import rank_figures
from autolora_bench.report.figures.searches import estimator_figures, stability_figures, trajectory_figures
from autolora_bench.report.figures.style import Picture
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.stability import CellStability

__all__ = ["arena_figures", "figures_of", "trajectory_figures"]


def figures_of(
    tables: Sequence[Table], costs: Sequence[CostTable], searches: Sequence[CellStability]
) -> list[Picture]:
    """Every figure but the trajectories, of which there may be many."""
    return [
        *pareto_figures(tables),
        *cost_figures(costs),
        *rank_figures(tables),
        *stability_figures(searches),
        *estimator_figures(tables),
        *curve_figures(tables),
    ]
