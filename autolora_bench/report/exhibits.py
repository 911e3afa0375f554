"""Everything a report shows beside its score tables: comparisons, costs, stability, figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora_bench.report.collect import Identity
from autolora_bench.report.comparisons import comparisons
from autolora_bench.report.cost import cost_tables
from autolora_bench.report.cost_report import cost_reports
from autolora_bench.report.figures.agreement import stability_figures
from autolora_bench.report.figures.costs import cost_figures
from autolora_bench.report.figures.curves import curve_figures
from autolora_bench.report.figures.estimator import estimator_figures
from autolora_bench.report.figures.pareto import pareto_figures
from autolora_bench.report.figures.ranks import rank_figures
from autolora_bench.report.figures.trajectories import trajectory_figures
from autolora_bench.report.movement import CellMovement, movement_table
from autolora_bench.report.picture import Picture
from autolora_bench.report.plain import PlainTable
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.stability_report import cell_stabilities, stability_report

PAGE_TRAJECTORIES = 2
"""A page shows so many trajectories; the folder holds all."""


@dataclass(frozen=True)
class Exhibits:
    """Tables and figures, and what could not be read for them."""

    comparisons: list[PlainTable]
    costs: list[PlainTable]
    stability: list[PlainTable]
    movement: list[PlainTable]
    figures: list[Picture]
    trajectories: list[Picture]
    problems: list[str]

    @property
    def tables(self) -> list[PlainTable]:
        """All tables."""
        return [*self.comparisons, *self.costs, *self.stability, *self.movement]

    @property
    def pictures(self) -> list[Picture]:
        """All figures."""
        return [*self.figures, *self.trajectories]

    @property
    def for_page(self) -> list[Picture]:
        """The figures that a page shows."""
        return [*self.figures, *self.trajectories[:PAGE_TRAJECTORIES]]


def exhibits(
    tables: Sequence[Table], folders: Mapping[Identity, Path], movements: Sequence[CellMovement]
) -> Exhibits:
    """Build all of them.

    Args:
        tables: score tables.
        folders: the runs' folders, for what the search left there.
        movements: of the searches.
    """
    costs = cost_tables(tables)
    cells, problems = cell_stabilities(tables, folders)
    report = stability_report(cells)
    trajectories, more = trajectory_figures(tables, folders)
    return Exhibits(
        comparisons=comparisons(tables),
        costs=cost_reports(costs),
        stability=[report] if report else [],
        movement=[moved] if (moved := movement_table(movements)) else [],
        figures=[
            *pareto_figures(tables),
            *cost_figures(costs),
            *rank_figures(tables),
            *stability_figures(cells),
            *estimator_figures(tables),
            *curve_figures(tables),
        ],
        trajectories=trajectories,
        problems=[*problems, *more],
    )
