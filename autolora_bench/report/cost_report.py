"""The cost tables in words."""

from collections.abc import Sequence

from autolora_bench.report import numerals
from autolora_bench.report.cost import CostRow, CostTable
from autolora_bench.report.plain import PlainTable

HEAD = (
    "method",
    "training / AdaLoRA",
    "search",
    "training",
    "wall clock",
    "tokens/s",
    "peak memory",
    "PFLOP",
    "runs",
)


def cost_reports(tables: Sequence[CostTable]) -> list[PlainTable]:
    """One table per model and machine. Times on different machines never stand in one table."""
    return [_report(table) for table in tables]


def _report(table: CostTable) -> PlainTable:
    tasks = list(dict.fromkeys(task for row in table.rows for task in row.by_task))
    rows = tuple(_row(row, tasks) for row in table.rows)
    return PlainTable(f"Cost: {table.model} on {table.machine}", HEAD, rows, tuple(_notes(table, tasks)))


def _row(row: CostRow, tasks: Sequence[str]) -> tuple[str, ...]:
    total, tokens = row.mean("total"), row.mean("tokens")
    peaks = [cost.peak for costs in row.by_task.values() for cost in costs if cost.peak is not None]
    flops = row.mean("flops")
    partial = "" if set(row.by_task) == set(tasks) else "*"
    return (
        row.label + partial,
        "" if row.relative is None else f"{row.relative:.2f}",
        _time(row.mean("search")),
        _time(row.mean("train")),
        _time(row.mean("wall")),
        f"{tokens / total:,.0f}" if tokens and total else "",
        f"{max(peaks) / 2**30:.2f} GiB" if peaks else "",
        "" if flops is None else f"{flops / 1e15:.3g}",
        str(row.runs),
    )


def _time(seconds: float | None) -> str:
    return "" if seconds is None else "--" if seconds == 0 else numerals.duration(seconds)


def _notes(table: CostTable, tasks: Sequence[str]) -> list[str]:
    notes = [
        f"Means over seeds, then over the tasks {', '.join(tasks)}. Search and training: optimizer steps alone; "
        "wall clock: everything, loading and evaluation included. Peak memory: the largest phase of any run.",
        "Times were taken on this one machine; times of different machines are never set side by side.",
    ]
    partial = [row for row in table.rows if set(row.by_task) != set(tasks)]
    if partial:
        notes.append(
            "*: fewer tasks: " + "; ".join(f"{row.label} {', '.join(row.by_task)}" for row in partial) + "."
        )
    shared = {row.shared for row in table.rows if row.relative is not None}
    if shared:
        notes.append(
            "training / AdaLoRA: search and training together, over the tasks that both have; AdaLoRA = 1."
        )
    else:
        notes.append("No ratio: AdaLoRA was not run here, or a record does not say how long its steps took.")
    if any(row.method == "lora_grid" for row in table.rows):
        notes.append("grid: what choosing LoRA's rank by trying cost, the ranks that were run added up.")
    return notes
