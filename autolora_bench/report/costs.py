"""What runs cost (the paper's Table 5): time, memory, throughput, arithmetic; ratios within one machine only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from autolora_bench.report import numerals
from autolora_bench.report.formats import PlainTable
from autolora_bench.report.scoreboard import Table

REFERENCE = "adalora"
MEANS = ["wall", "search", "train", "total", "cpu", "tokens", "flops"]
PEAKS = ["peak_search", "peak_train", "peak"]
HEAD = (
    "method", "training / AdaLoRA", "CPU / AdaLoRA", "search", "training", "CPU", "wall clock", "tokens/s",
    "peak, search", "peak, training", "peak, all", "PFLOP", "runs",
)  # fmt: skip


@dataclass(frozen=True)
class CostTable:
    """Costs of one model on one machine."""

    model: str
    machine: str
    rows: pd.DataFrame
    """By label, in the order of the score table: the means of `MEANS` over seeds, then over tasks, NaN where a run does
    not say; the largest of `PEAKS`; runs and tasks (a tuple); relative to AdaLoRA's, on the tasks that both have
    (shared, a tuple), the training time, the search's share of it, and the processor time."""
    seeds: tuple[int, ...]
    reference: str
    """The row of AdaLoRA that the ratios are over; empty where none was run."""
    titles: dict[str, str]
    """Task -> its title, with a mark where its data were not the whole ones."""


def cost_tables(tables: Sequence[Table]) -> list[CostTable]:
    """One table per model and machine, rows as in the score tables, and the LoRA grid where several ranks were run."""
    found = []
    for table in tables:
        recorded = table.costs[table.costs["wall"].notna()]
        for machine, costs in recorded.groupby("hardware", sort=False):
            rows, reference = _rows(table, costs)
            tasks = dict.fromkeys(task for tasks in rows["tasks"] for task in tasks)
            titles = {task: table.named(task) for task in tasks}
            found.append(
                CostTable(
                    table.model, str(machine), rows, tuple(sorted(set(costs["seed"]))), reference, titles
                )
            )
    return found


def _rows(table: Table, costs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows, and the one that the ratios are over."""
    by_seed = costs.sort_values("row", kind="stable").groupby(["row", "task"], sort=False)
    cells = _whole(by_seed[MEANS], "mean").join(by_seed[PEAKS].max()).assign(runs=by_seed.size())
    cells = pd.concat([cells, _grid(cells, table)])
    by_task = cells.groupby("row", sort=False)
    rows = _whole(by_task[MEANS], "mean").join(by_task[PEAKS].max()).assign(runs=by_task["runs"].sum())
    rows["tasks"] = _tasks(cells)
    reference = _reference(cells, table)
    rows = rows.join(_ratios(cells, reference))
    rows["shared"] = [shared if isinstance(shared, tuple) else () for shared in rows["shared"]]
    labels = {number: row.label for number, row in enumerate(table.rows)}
    rows.index = pd.Index([labels.get(number, f"LoRA, grid of {-number} ranks") for number in rows.index])
    return rows, labels.get(reference, "")


def _whole(groups: Any, combine: str) -> pd.DataFrame:
    """The groups combined, NaN where a member does not say."""
    found: pd.DataFrame = groups.agg(combine)
    return found.where(groups.count().eq(groups.size(), axis=0))


def _tasks(cells: pd.DataFrame) -> pd.Series:
    """Row -> its tasks, a tuple."""
    found: dict[int, list[str]] = {}
    for row, task in cells.index:
        found.setdefault(row, []).append(task)
    return pd.Series({row: tuple(tasks) for row, tasks in found.items()}, dtype=object)


def _grid(cells: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The price of choosing LoRA's rank by trying: all ranks that were run, added up task by task.

    Its row is minus the number of ranks.
    """
    run = set(cells.index.get_level_values("row"))
    ranks = [n for n, row in enumerate(table.rows) if row.is_rank and n in run]
    own = cells[cells.index.isin(ranks, level="row")].groupby("task", sort=False)
    if len(ranks) < 2 or not (own.size() == len(ranks)).any():
        return cells.iloc[:0]
    grid = _whole(own[MEANS], "sum").join(own[PEAKS].max()).assign(runs=own["runs"].sum())
    return pd.concat({-len(ranks): grid[own.size() == len(ranks)]}, names=["row"])


def _reference(cells: pd.DataFrame, table: Table) -> int:
    """The row of AdaLoRA that was run here, its main one where that was; -1 for none."""
    run = set(cells.index.get_level_values("row"))
    found = [n for n, row in enumerate(table.rows) if row.method == REFERENCE and n in run]
    return min(found, key=lambda n: not table.rows[n].main, default=-1)


def _ratios(cells: pd.DataFrame, reference: int) -> pd.DataFrame:
    """Every row over AdaLoRA's on the tasks that both have, where AdaLoRA was run on the same machine."""
    base = (
        cells[cells.index.isin([reference], level="row")]
        .droplevel("row")[["total", "cpu"]]
        .add_prefix("base_")
    )
    both = cells[["total", "search", "cpu"]].join(base, on="task", how="inner")
    times = _whole(both.groupby("row", sort=False), "mean")
    ratios = pd.DataFrame(
        {
            "relative": times["total"] / times["base_total"],
            "relative_search": times["search"] / times["base_total"],
            "relative_cpu": times["cpu"] / times["base_cpu"],
        }
    )
    return ratios.assign(shared=_tasks(both))[ratios["relative"].notna()]


def cost_reports(tables: Sequence[CostTable]) -> list[PlainTable]:
    """The cost tables in words. Times on different machines never stand in one table."""
    return [_report(table) for table in tables]


def _report(table: CostTable) -> PlainTable:
    tasks = list(table.titles)
    head, *rows = _without_empty(
        [HEAD, *(_words(str(label), row, tasks) for label, row in table.rows.iterrows())]
    )
    title, notes = f"Cost: {table.model} on {table.machine}", tuple(_notes(table, tasks))
    return PlainTable(title, head, tuple(rows), notes, table.model)


def _without_empty(lines: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The lines without the columns that only the first of them fills."""
    filled = [place for place in range(len(lines[0])) if any(line[place] for line in lines[1:])]
    return [tuple(line[place] for place in filled) for line in lines]


def _words(label: str, row: pd.Series, tasks: Sequence[str]) -> tuple[str, ...]:
    speed = row["tokens"] / row["total"] if row["tokens"] and row["total"] else float("nan")
    return (
        label + ("" if set(row["tasks"]) == set(tasks) else "*"),
        _number(row["relative"], ".2f"),
        _number(row["relative_cpu"], ".2f"),
        *(_time(row[name]) for name in ("search", "train", "cpu", "wall")),
        _number(speed, ",.0f"),
        *(_number(row[name] / 2**30, ".2f", " GiB") for name in ("peak_search", "peak_train", "peak")),
        _number(row["flops"] / 1e15, ".3g"),
        str(row["runs"]),
    )


def _number(value: float, form: str, unit: str = "") -> str:
    return "" if pd.isna(value) else f"{value:{form}}{unit}"


def _time(seconds: float) -> str:
    return "" if pd.isna(seconds) else "--" if seconds == 0 else numerals.duration(seconds)


def _notes(table: CostTable, tasks: Sequence[str]) -> list[str]:
    notes = [
        f"Means over seeds, then over the tasks {', '.join(tasks)}. Search and training: optimizer steps alone; "
        "wall clock: everything, loading and evaluation included. Peak: most memory of any run in the search, in the "
        "training of the final weights, in any phase.",
        "Times were taken on this one machine; times of different machines are never set side by side.",
    ]
    if table.rows["cpu"].notna().any():
        notes.append(
            "CPU: processor time of search and training together, which other programs on the machine change little; "
            "empty where an older record does not say."
        )
    partial = [
        f"{label} {', '.join(own)}" for label, own in table.rows["tasks"].items() if set(own) != set(tasks)
    ]
    if partial:
        notes.append(f"*: fewer tasks: {'; '.join(partial)}.")
    if table.rows["relative"].notna().any():
        notes.append(
            f"training / AdaLoRA: search and training together, over the tasks that both have; {table.reference} = 1."
        )
    else:
        notes.append("No ratio: AdaLoRA was not run here, or a record does not say how long its steps took.")
    if any(str(label).startswith("LoRA, grid of ") for label in table.rows.index):
        notes.append("grid: what choosing LoRA's rank by trying cost, the ranks that were run added up.")
    return notes
