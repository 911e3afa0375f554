"""A table before it takes any format."""

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from autolora_bench.report.columns import Column
from autolora_bench.report.entries import Entry
from autolora_bench.report.rows import Variant

ALPHA = 0.05
FEW = 3
"""Fewer seeds than this earn a dagger."""


def seeds_of(seeds: Iterable[int]) -> str:
    """`seed 0`, `seeds 0, 1, 2`."""
    found = sorted(set(seeds))
    return f"seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"


@dataclass(frozen=True)
class Cell:
    """One score of one row: its runs and what they give."""

    entries: tuple[Entry, ...] = ()
    scores: dict[int, float] = field(default_factory=dict)
    """Seed -> score in the published unit."""
    pairs: dict[tuple[str, int], float] = field(default_factory=dict)
    """(task, seed) -> score: what a paired test compares."""
    mean_of_means: float | None = None
    """An average's value where its tasks have different seeds; it has no standard deviation then."""
    best: bool = False
    """Whether the paired test separates it from the second best."""

    @property
    def n(self) -> int:
        """Number of seeds with a score; for an average, of the task that has fewest."""
        return min(Counter(task for task, _ in self.pairs).values(), default=0)

    @property
    def mean(self) -> float | None:
        """Mean over seeds."""
        return statistics.fmean(self.scores.values()) if self.scores else self.mean_of_means

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for one seed."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None

    @property
    def few(self) -> bool:
        """Whether it rests on fewer than three seeds."""
        return 0 < self.n < FEW

    @property
    def state(self) -> str:
        """Why there is no score: failed, undefined, or `--` where nothing is completed."""
        states = {entry.state.value for entry in self.entries}
        if "completed" in states:
            return "undefined"
        return "failed" if states == {"failed"} else "--"


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table, cut to our columns."""

    source: str
    table: str
    backbone: str
    method: str
    parameters: str
    values: dict[Column, float]
    stds: dict[Column, float]
    differences: dict[Column, float]
    """Ours minus published, only for the same backbone and setting."""
    notes: tuple[str, ...] = ()
    """What the source's readers must know, and how the values are known."""

    @property
    def origin(self) -> str:
        """Source and table."""
        return f"{self.source}, {self.table}"


@dataclass(frozen=True)
class Row:
    """One method, or one of its configurations."""

    method: str
    """Its name in the configuration; `order.UNTRAINED` for a model as it was before training."""
    variant: Variant
    """The settings that tell it from the method's other rows."""
    label: str
    """What a table calls it: the method's title, with those settings where there are several rows."""
    main: bool
    """Whether it is the method's main configuration, which declared comparisons mean."""
    cells: dict[Column, Cell]
    parameters: list[float]
    """Method parameters of every completed run."""
    trainable: list[float]
    """Method parameters and head of every completed run."""
    seconds: float | None = None
    """Optimizer steps of one run, search included: mean over seeds, then tasks; None where a task has no run, a
    record does not say, or the table's runs were made on several machines."""
    published: list[PublishedRow] = field(default_factory=list)
    """Published rows of this very setting."""


@dataclass(frozen=True)
class Claim:
    """That one row differs from another, on one headline score or over several tasks."""

    first: int
    second: int
    """Positions of the rows."""
    columns: tuple[Column, ...]
    """The headline score of every task that both rows have."""
    differences: tuple[tuple[float, ...], ...]
    """First minus second for each of them, by seed; positive favours the first, also where lower is better."""
    p: float | None = None
    adjusted: float | None = None
    """After Holm's correction over the table's family; None where the claim could not be separated by any scores."""

    @property
    def units(self) -> tuple[float, ...]:
        """What the test takes for independent: seeds on one task, means of tasks over several."""
        if len(self.columns) == 1:
            return self.differences[0]
        return tuple(statistics.fmean(values) for values in self.differences)

    @property
    def mean(self) -> float:
        """Mean difference: over seeds, then over tasks."""
        return statistics.fmean(self.units)

    @property
    def pairs(self) -> int:
        """Number of (task, seed) pairs."""
        return sum(len(values) for values in self.differences)

    @property
    def separated(self) -> bool:
        """Whether the family's test tells the two rows apart."""
        return self.adjusted is not None and self.adjusted < ALPHA


@dataclass(frozen=True)
class Unfilled:
    """Runs of a row that a table lacks and the command that makes them."""

    label: str
    tasks: tuple[str, ...]
    states: str
    """`missing (seed 0, 1)`; for failed runs the reason."""
    command: str

    @property
    def what(self) -> str:
        """Row, tasks and states in a line."""
        return f"{self.label} on {', '.join(self.tasks)}: {self.states}"


@dataclass(frozen=True)
class Table:
    """Scores of one model."""

    title: str
    model: str
    columns: list[Column]
    """Scores of tasks, then their averages if there are any."""
    rows: list[Row]
    usual_n: int
    """Seeds of most cells; a cell says so where it has another number."""
    marked: frozenset[str]
    """Tasks scored or trained on less than the whole data."""
    others: list[PublishedRow] = field(default_factory=list)
    """Published rows of the same backbone that match no row of ours."""
    elsewhere: list[PublishedRow] = field(default_factory=list)
    """Published rows of other backbones: for orientation, not to be compared."""
    footnotes: list[str] = field(default_factory=list)
    unfilled: list[Unfilled] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    """The family of comparisons; it marks the best cells too."""
    compare: tuple[str, ...] = ()
    """The declared comparisons, `method:other`."""

    @property
    def subject(self) -> str:
        """Model, seeds and data in a line, for figures."""
        entries = [
            entry
            for row in self.rows
            for cell in row.cells.values()
            for entry in cell.entries
            if entry.completed
        ]
        tasks = dict.fromkeys(column.task for column in self.columns if not column.is_average)
        return (
            f"{self.model}; {', '.join(map(self.named, tasks))}; {seeds_of(entry.seed for entry in entries)}"
        )

    def named(self, task: str) -> str:
        """The task's title; with a mark where its data were not the whole ones."""
        columns = [column for column in self.columns if column.task == task]
        entries = [entry for row in self.rows for column in columns for entry in row.cells[column].entries]
        made_up = any(entry.setting("data", "source") == "generated" for entry in entries)
        mark = " (generated)" if made_up else " (not the whole data)"
        return columns[0].title + (mark if task in self.marked else "")

    @property
    def published(self) -> list[PublishedRow]:
        """Every published row, in the order they are shown."""
        return [*(one for row in self.rows for one in row.published), *self.others, *self.elsewhere]

    @property
    def origins(self) -> dict[str, int]:
        """Source and table of published rows -> the number that stands for it in labels."""
        return {
            origin: number for number, origin in enumerate(dict.fromkeys(p.origin for p in self.published), 1)
        }
