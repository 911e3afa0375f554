"""What runs cost (the paper's Table 5): time, memory, throughput, arithmetic; ratios within one machine only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from autolora_bench.record import PhaseRecord, RunRecord
from autolora_bench.report.entries import Entry
from autolora_bench.report.hardware import hardware
from autolora_bench.report.rank_effect import RANK
from autolora_bench.report.rows import Variant
from autolora_bench.report.scoreboard import Row, Table

REFERENCE = "adalora"
SEARCH = "search"


@dataclass(frozen=True)
class RunCost:
    """Cost of one run; None where its record does not say."""

    wall: float
    """Seconds of all phases, loading and evaluation included."""
    search: float | None
    """Seconds of optimizer steps in the search; 0 for methods without one."""
    train: float | None
    """Seconds of optimizer steps that make the final weights."""
    peak: int | None
    """Bytes, the largest of all phases."""
    peak_search: int | None
    peak_train: int | None
    tokens: float | None
    """Through forward and backward passes, padding included."""
    flops: float | None
    cpu: float | None
    """Processor seconds of optimizer steps, search included."""

    @property
    def total(self) -> float | None:
        """Seconds of optimizer steps, search included."""
        return None if self.search is None or self.train is None else self.search + self.train


@dataclass(frozen=True)
class CostRow:
    """One row of ours on one machine: means over seeds, then over tasks."""

    label: str
    method: str
    variant: Variant = ()
    by_task: dict[str, list[RunCost]] = field(default_factory=dict)
    relative: float | None = None
    """Training time over AdaLoRA's on the tasks that both have."""
    relative_search: float | None = None
    """The search's share of `relative`."""
    relative_cpu: float | None = None
    """The same of processor time."""
    shared: tuple[str, ...] = ()
    """Tasks that `relative` rests on."""

    def mean(self, quantity: str) -> float | None:
        """Mean over tasks of the mean over seeds; None where a run does not say."""
        return mean_over(self.by_task, tuple(self.by_task), quantity)

    @property
    def runs(self) -> int:
        """Number of runs."""
        return sum(len(costs) for costs in self.by_task.values())


@dataclass(frozen=True)
class CostTable:
    """Costs of one model on one machine."""

    model: str
    machine: str
    rows: list[CostRow]
    seeds: tuple[int, ...]
    titles: dict[str, str]
    """Task -> its title, with a mark where its data were not the whole ones."""


def run_cost(record: RunRecord) -> RunCost:
    """Sum a record's phases."""
    search = [phase for phase in record.phases if phase.name == SEARCH]
    others = [phase for phase in record.phases if phase.name != SEARCH and phase.steps]
    return RunCost(
        wall=sum(phase.seconds for phase in record.phases),
        search=_seconds(search),
        train=_seconds(others) if others else None,
        peak=_peak(record.phases),
        peak_search=_peak(search),
        peak_train=_peak(others),
        tokens=_total([phase.tokens for phase in [*search, *others]]),
        flops=_total([phase.flops for phase in [*search, *others]]),
        cpu=_total([phase.train_cpu_seconds for phase in [*search, *others]]) if others else None,
    )


def cost_tables(tables: Sequence[Table]) -> list[CostTable]:
    """One table per model and machine, rows as in the score tables, and the LoRA grid where several ranks were run."""
    found = []
    for table in tables:
        entries = {id(row): _entries(row) for row in table.rows}
        done = [(e, hardware(e.completed)) for es in entries.values() for e in es if e.completed]
        for machine in dict.fromkeys(machine for _, machine in done):
            rows = [_row(row, entries[id(row)], machine) for row in table.rows]
            rows = [row for row in rows if row.by_task]
            seeds = sorted({entry.seed for entry, where in done if where == machine})
            titles = {task: table.named(task) for row in rows for task in row.by_task}
            found.append(CostTable(table.model, machine, _related(rows + _grid(rows)), tuple(seeds), titles))
    return [table for table in found if table.rows]


def mean_cost(costs: Sequence[RunCost]) -> RunCost:
    """Means over runs; the largest of their peaks."""

    return _combined(costs, fmean)


def mean_over(by_task: dict[str, list[RunCost]], tasks: Sequence[str], quantity: str) -> float | None:
    """Mean over the given tasks of the mean over seeds; None where a run does not say, or without tasks."""
    values = [[getattr(cost, quantity) for cost in by_task[task]] for task in tasks]
    if not values or any(value is None for seeds in values for value in seeds):
        return None
    return fmean(fmean(seeds) for seeds in values)


def _entries(row: Row) -> list[Entry]:
    return list({id(entry): entry for cell in row.cells.values() for entry in cell.entries}.values())


def _row(row: Row, entries: list[Entry], machine: str) -> CostRow:
    by_task: dict[str, list[RunCost]] = {}
    for entry in entries:
        if entry.completed and hardware(entry.completed) == machine and entry.completed.phases:
            by_task.setdefault(entry.task, []).append(run_cost(entry.completed))
    return CostRow(row.label, row.method, row.variant, by_task)


def _grid(rows: list[CostRow]) -> list[CostRow]:
    """The price of choosing LoRA's rank by trying: all ranks that were run, added up task by task."""
    ranks = [row for row in rows if row.method == "lora" and [name for name, _ in row.variant] == [RANK]]
    tasks = [
        task for task in (ranks[0].by_task if ranks else {}) if all(task in row.by_task for row in ranks)
    ]
    if len(ranks) < 2 or not tasks:
        return []
    by_task = {task: [_combined([mean_cost(row.by_task[task]) for row in ranks], sum)] for task in tasks}
    return [CostRow(f"LoRA, grid of {len(ranks)} ranks", "lora_grid", by_task=by_task)]


def _combined(costs: Sequence[RunCost], combine: Callable[[Sequence[float]], float]) -> RunCost:
    """Every quantity of several runs combined, None where one does not say; of their peaks the largest."""

    def whole(name: str) -> float | None:
        values = [getattr(cost, name) for cost in costs]
        return None if any(value is None for value in values) else combine(values)

    def largest(name: str) -> int | None:
        return max((peak for cost in costs if (peak := getattr(cost, name)) is not None), default=None)

    return RunCost(
        wall=combine([cost.wall for cost in costs]),
        search=whole("search"),
        train=whole("train"),
        peak=largest("peak"),
        peak_search=largest("peak_search"),
        peak_train=largest("peak_train"),
        tokens=whole("tokens"),
        flops=whole("flops"),
        cpu=whole("cpu"),
    )


def _peak(phases: Sequence[PhaseRecord]) -> int | None:
    peaks = [phase.peak_memory_bytes for phase in phases if phase.peak_memory_bytes is not None]
    return max(peaks, default=None)


def _related(rows: list[CostRow]) -> list[CostRow]:
    """Rows with their ratio to AdaLoRA, where AdaLoRA was run on the same machine."""
    reference = next((row for row in rows if row.method == REFERENCE), None)
    return [_relate(row, reference) for row in rows] if reference else rows


def _relate(row: CostRow, reference: CostRow) -> CostRow:
    tasks = tuple(task for task in row.by_task if task in reference.by_task)
    base, base_cpu = (mean_over(reference.by_task, tasks, name) for name in ("total", "cpu"))
    total, search, cpu = (mean_over(row.by_task, tasks, name) for name in ("total", "search", "cpu"))
    if not base or total is None or search is None:
        return row
    related = replace(row, relative=total / base, relative_search=search / base, shared=tasks)
    return replace(related, relative_cpu=cpu / base_cpu) if base_cpu and cpu is not None else related


def _seconds(phases: list[PhaseRecord]) -> float | None:
    return _total([phase.train_seconds for phase in phases])


def _total(values: Sequence[float | None]) -> float | None:
    """The sum; None where any is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
