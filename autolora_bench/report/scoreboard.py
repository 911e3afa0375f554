"""A table before it takes any format."""

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from autolora_bench.metrics.registry import Metric
from autolora_bench.plan import side_of
from autolora_bench.report import numerals
from autolora_bench.report.rows import Variant, number
from autolora_bench.report.runs import PairKey, Run, grouped, told
from autolora_bench.report.units import metric_title

ALPHA = 0.05
AVERAGE = "average"
"""The task of a column that is a mean over tasks, here and in published tables."""
DOWN = "\N{DOWNWARDS ARROW}"
FEW = 3
"""Fewer seeds than this earn a dagger."""
TIMED = "search + training"
"""Heading of a row's seconds."""


def seeds_of(seeds: Iterable[int]) -> str:
    """`seed 0`, `seeds 0, 1, 2`."""
    found = sorted(set(seeds))
    return f"seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"


@dataclass(frozen=True)
class Column:
    """One score of one task."""

    task: str
    title: str
    split: str
    score: str
    """The score's name in the record, e.g. `bleu/unseen`."""
    metric: Metric
    epoch: str
    """best, last, or kept for test splits, which are scored once with the weights that were kept."""
    headline: bool
    """Whether this is the task's first metric on its first split."""
    epoch_shown: bool = False
    variant: str = ""
    """What tells this split from the task's other splits, e.g. mismatched."""
    shuffled: bool = False
    """Whether it was trained with shuffled labels: a control, and no task to average or to compare methods over."""
    suffix: str = ""
    """What published values of this split are filed under behind the task's name: nothing for the first, else mm, de or
    hard."""

    @property
    def is_average(self) -> bool:
        """Whether this is a mean over tasks, not a score of one."""
        return self.task == AVERAGE

    @property
    def subtitle(self) -> str:
        """Metric, split variant, epoch; an arrow where lower is better."""
        metric = "" if self.is_average else self.metric.title or metric_title(self.score)
        parts = [metric, self.variant, self.epoch if self.epoch_shown else ""]
        return " ".join(part for part in parts if part) + ("" if self.metric.higher_is_better else f" {DOWN}")

    @property
    def in_hundredths(self) -> bool:
        """Whether a difference of 1 is a point."""
        return self.is_average or self.metric.published_scale == 100.0

    def written(self, value: float) -> str:
        """A score, or a deviation, of this column."""
        return numerals.score(value, fraction=self.in_hundredths)

    @property
    def published_key(self) -> tuple[str, str]:
        """The task and metric under which published values of this score are filed."""
        base, _, subset = self.score.partition("/")
        name = f"{self.task}_{self.suffix}" if self.suffix else self.task
        return (f"{name}/{subset}" if subset else name), base


@dataclass(frozen=True)
class Cell:
    """One score of one row: its runs and what they give."""

    runs: tuple[Run, ...] = ()
    scores: dict[int, float] = field(default_factory=dict)
    """Seed -> score in the published unit."""
    pairs: dict[PairKey, float] = field(default_factory=dict)
    """What a paired test compares."""
    mean: float | None = None
    """Over seeds; of an average whose tasks have different seeds, over the tasks' means."""
    std: float | None = None
    """Sample standard deviation over seeds; None for one seed."""
    best: bool = False
    """Whether the paired test separates it from the second best."""

    @property
    def n(self) -> int:
        """Number of seeds with a score; for an average, of the task that has fewest."""
        return min(Counter(task for task, *_ in self.pairs).values(), default=0)

    @property
    def few(self) -> bool:
        """Whether it rests on fewer than three seeds."""
        return 0 < self.n < FEW

    @property
    def state(self) -> str:
        """Why there is no score: failed, undefined, or `--` where nothing is completed."""
        states = {run.state.value for run in self.runs}
        if "completed" in states:
            return "undefined"
        return "failed" if states == {"failed"} else "--"


def of_tasks(columns: Sequence[Column]) -> list[Column]:
    """What averages and comparisons over tasks count: no columns of shuffled labels, where there are others."""
    return [column for column in columns if not column.shuffled] or list(columns)


def unit_of(columns: Iterable[Column]) -> str:
    """What differences of these scores are in, in words."""
    units = {"points" if column.in_hundredths else "the metric's own unit" for column in columns}
    return " or ".join(sorted(units))


def averaged_tasks(columns: Sequence[Column]) -> set[str]:
    """The tasks of an average over the columns' headline scores."""
    return {column.task for column in of_tasks([column for column in columns if column.headline])}


def tasks_under(column: Column, columns: Sequence[Column]) -> set[str]:
    """The tasks that a column's score is over: its own, or those of the average over `columns`."""
    return averaged_tasks(columns) if column.is_average else {column.task}


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
    """Its name in the configuration; `registry.UNTRAINED` for a model as it was before training."""
    variant: Variant
    """The settings that tell it from the method's other rows."""
    label: str
    """What a table calls it: the method's title, with those settings where there are several rows."""
    main: bool
    """Whether it is the method's main configuration, which declared comparisons mean."""
    runs: tuple[Run, ...]
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
    undecided: bool = False
    """Whether the method has no main row, as its own settings are not known."""

    def has(self, setting: str) -> bool:
        """Whether `rank=16` is what tells it apart, or holds of all its runs; a number may be written otherwise."""
        name, _, value = setting.partition("=")
        settings = [dict(self.variant), *(run.settings for run in self.runs)]
        names = [one for one in (name, f"method.{name}") if any(one in own for own in settings)]
        if not names:
            return False
        stated = settings[0].get(names[0])
        held = {told(own, names[0]) for own in settings[1:]} if stated is None else {stated}
        return all(one == value or (number(one) is not None and number(one) == number(value)) for one in held)

    @property
    def is_rank(self) -> bool:
        """Whether it is one of several rows of LoRA that differ in nothing but the rank."""
        return self.method == "lora" and [name for name, _ in self.variant] == ["method.rank"]

    def weights(self, tasks: Collection[str], which: str) -> float | None:
        """Mean number of trained weights on the tasks: over seeds, then over tasks; None where a task has no run.

        Args:
            tasks: their names.
            which: method, or trainable for the head's too.
        """
        found = [
            [
                float(getattr(run.completed.parameters, which))
                for run in runs
                if run.completed and run.completed.parameters
            ]
            for task, runs in self.by_task.items()
            if task in tasks
        ]
        known = [statistics.fmean(counts) for counts in found if counts]
        return statistics.fmean(known) if known and len(known) == len(set(tasks)) else None

    @property
    def by_task(self) -> dict[str, list[Run]]:
        """Task -> its runs, made or planned."""
        return grouped(self.runs, lambda run: run.task)


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
    family: int = 1
    """How many claims are corrected together; where none has units enough to be tested, how many there are."""

    @property
    def units(self) -> tuple[float, ...]:
        """What the test takes for independent: seeds on one task, means of tasks over several."""
        if len(self.differences) == 1:
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


def rows_named(rows: Sequence[Row], side: str) -> list[int]:
    """Positions of the rows that a side of a comparison may mean: `lora` its main row, `lora/rank=16` one with that."""
    method, settings = side_of(side)
    return [
        place
        for place, row in enumerate(rows)
        if row.method == method and (all(map(row.has, settings)) if settings else row.main)
    ]


def pair_named(rows: Sequence[Row], text: str) -> tuple[int, int] | None:
    """Positions of the two rows of `method:other`; None where a side means none, several, or the other's."""
    sides = [rows_named(rows, side) for side in text.split(":")]
    places = {found[0] for found in sides if len(found) == 1}
    return (sides[0][0], sides[1][0]) if len(places) == 2 else None


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
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`Frames.costs` of the rows' runs, with row (its position), task and seed."""

    @property
    def subject(self) -> str:
        """Model, seeds and data in a line, for figures."""
        seeds = [run.seed for row in self.rows for run in row.runs if run.completed]
        tasks = dict.fromkeys(column.task for column in self.columns if not column.is_average)
        return f"{self.model}; {', '.join(map(self.named, tasks))}; {seeds_of(seeds)}"

    def named(self, task: str) -> str:
        """The task's title; with a mark where its data were not the whole ones."""
        columns = [column for column in self.columns if column.task == task]
        runs = [run for row in self.rows for run in row.runs if run.task == task]
        made_up = any(run.generated for run in runs)
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
