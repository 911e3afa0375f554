"""What a report shows, before it takes a format: tables, comparisons, costs and remarks, from records and a plan."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autolora_bench.config.train import Keep
from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord
from autolora_bench.report.agreement import rank_agreement, settings_agreement, task_agreement
from autolora_bench.report.answers import answers
from autolora_bench.report.arena import Arena, arenas_of, is_planted
from autolora_bench.report.arena_tables import arena_tables
from autolora_bench.report.collect import Collection, distinct, no_records
from autolora_bench.report.comparisons import comparisons
from autolora_bench.report.costs import CostTable, cost_reports, cost_tables
from autolora_bench.report.declared import check_decided, family_of, untold, without_pairs
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.frames import frames_of
from autolora_bench.report.movement import CellMovement, cell_movements, movement_table, movement_warnings
from autolora_bench.report.numerals import plural
from autolora_bench.report.published import read_published
from autolora_bench.report.runs import Run, runs_of, unasked
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.tables import tables_of
from autolora_bench.report.tuning import TunedCell, is_tuning, rates_of, tuned_cells, tuning_table
from autolora_bench.report.unlike import warnings_of

if TYPE_CHECKING:
    from autolora_bench.report.figures.style import Picture

EPOCHS = ("best", "last", "both")
METRICS = ("headline", "paper", "all")
SAID = 5
"""So many ways in which records differ from what was asked for are named."""


@dataclass(frozen=True)
class Report:
    """Everything a report shows, before it takes a format."""

    title: str
    runs: list[Run]
    """Of the score tables."""
    tables: list[Table]
    remarks: list[str]
    collection: Collection
    movements: list[CellMovement]
    comparisons: list[PlainTable]
    costs: list[CostTable]
    tuned: list[TunedCell] = field(default_factory=list)
    """What was tuned before it was compared."""
    arenas: list[Arena] = field(default_factory=list)
    """Of the runs whose true ranks are known, which no score table holds."""
    planted: list[Run] = field(default_factory=list)
    """Those runs."""
    planned: Sequence[PlannedRun] | None = None
    asked: tuple[str, ...] = ()
    """The other options."""
    published: tuple[Path, ...] = ()

    @property
    def rates(self) -> list[PlainTable]:
        """What each learning rate scored, where rates were tuned."""
        tuning = self.planned[0].experiment.tuning if self.planned else None
        table = tuning_table(self.tuned, extends=tuning is None or tuning.extensions > 0)
        return list(filter(None, [table]))

    @property
    def first(self) -> list[PlainTable]:
        """The tables before the scores."""
        return arena_tables(self.arenas)

    @property
    def moved(self) -> list[PlainTable]:
        """The movement of its searches, if there are any."""
        return list(filter(None, [movement_table(self.movements)]))

    @property
    def agreement(self) -> list[PlainTable]:
        """Whether seeds, tasks and settings give layers the same ranks, where a method gives them different ones."""
        asked = (rank_agreement, task_agreement, settings_agreement)
        return [table for ask in asked if (table := ask(self.tables)) is not None]

    @property
    def further(self) -> list[PlainTable]:
        """The tables beside the scores that need no figure."""
        return [*self.rates, *self.comparisons, *cost_reports(self.costs), *self.moved]


@dataclass(frozen=True)
class Exhibits:
    """What a page and a folder show beyond: stability, figures, and what could not be read for them."""

    stability: list[PlainTable]
    figures: "list[Picture]" = field(default_factory=list)
    trajectories: "list[Picture]" = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def prepare(
    records: Collection | Sequence[RunRecord],
    planned: Sequence[PlannedRun] | None = None,
    *,
    epoch: str | None = None,
    metrics: str = "paper",
    title: str = "Results",
    published: Sequence[Path] = (),
    compare: Sequence[str] | None = None,
    arena: bool = True,
) -> Report:
    """Tables and remarks, for every format.

    Args:
        records: what `collect` found; plain records do as well, without figures that need a run's folder.
        planned: what was meant to be run; only these runs are shown, and gaps are listed with their commands.
        epoch: best, last or both, for splits that are scored after every epoch; None takes that of the weights that
            the runs keep, the best one where they differ.
        metrics: `headline`, `all`, or `paper`, which adds what published tables hold.
        title: heading.
        published: CSV files of published values; none takes the project's own.
        compare: the comparisons that are tested and corrected together, `method:other`; None takes what the plan's
            suite declares, without a plan AutoLoRA against LoRA and its controls.
        arena: whether planted ranks stand apart; else they are a task like others.

    Raises:
        UserError: nothing to report, an unknown choice, or a malformed file of published values.
    """
    if epoch is not None:
        choose("epoch", epoch, EPOCHS)
    choose("metrics", metrics, METRICS)
    given = records if isinstance(records, Collection) else distinct(records)
    runs, outside = runs_of(given.records, planned, given.unreadable)
    if not runs:
        raise no_records(given)
    family = family_of(compare, runs, planned)
    asked = [] if compare is None else family
    values = read_published(*published)
    tuned = tuned_cells(runs)
    planted = [run for run in runs if arena and is_planted(run)]
    compared = [run for run in runs if run not in planted and not is_tuning(run)]
    moment = epoch or ("last" if all(_keeps_last(run) for run in compared) else "best")
    frames = frames_of(compared, rates_of(tuned))
    tables = tables_of(frames, values, epoch=moment, metrics=metrics, title=title, compare=family)
    check_decided(asked, tables)
    found = tables_of(frames_of(planted), epoch="best", metrics="headline", title=title)
    movements = cell_movements([*tables, *found], given.folders)
    remarks = [
        *(line for table in tables for line in warnings_of(table)),
        *answers(tables, tuned),
        *untold(asked, compared),
        *without_pairs(family, asked, tables),
        *_remarks(given, outside, planned or ()),
        *movement_warnings(movements),
    ]
    return Report(
        title=title,
        runs=compared,
        tables=tables,
        remarks=remarks,
        collection=given,
        movements=movements,
        comparisons=comparisons(tables),
        costs=cost_tables(tables),
        tuned=tuned,
        arenas=arenas_of(planted),
        planted=planted,
        planned=planned,
        asked=(str(epoch), metrics, title, str(arena), *map(str, family)),
        published=tuple(published),
    )


def _keeps_last(run: Run) -> bool:
    return bool(run.setting("train", "keep") == Keep.last.name)


def _remarks(
    collection: Collection, outside: Sequence[RunRecord], planned: Sequence[PlannedRun]
) -> list[str]:
    remarks = [f"CONFLICT {conflict}" for conflict in collection.conflicts]
    remarks += [f"UNREADABLE {item}" for item in collection.unreadable]
    remarks += [
        f"NOT READ {link}: a link to other results is not followed; name it too, in records= or merge="
        for link in collection.links
    ]
    if collection.duplicates:
        remarks.append(
            f"{plural(collection.duplicates, 'record')} met twice with equal scores, counted once."
        )
    if outside:
        near = Counter(filter(None, (unasked(record, planned) for record in outside)))
        told = "".join(f"; {plural(count, 'record')} with {what}" for what, count in near.most_common(SAID))
        remarks.append(f"{plural(len(outside), 'record')} found that this report does not ask for{told}.")
    return remarks


def choose(name: str, value: str, among: Sequence[str]) -> None:
    """Raises UserError where `value` is none of the choices."""
    if value not in among:
        raise UserError(f"{name}={value} is not known", f"choose among: {', '.join(among)}")
