"""The cost tables in words."""

from collections.abc import Sequence

from autolora_bench.report import numerals
from autolora_bench.report.cost import CostRow, CostTable
from autolora_bench.report.plain import PlainTable

HEAD = (
    "method",
    "training / AdaLoRA",
    "CPU / AdaLoRA",
    "search",
    "training",
    "CPU",
    "wall clock",
    "tokens/s",
    "peak, search",
    "peak, training",
    "peak, all",
    "PFLOP",
    "runs",
)


def cost_reports(tables: Sequence[CostTable]) -> list[PlainTable]:
    """One table per model and machine. Times on different machines never stand in one table."""
    return [_report(table) for table in tables]


def _report(table: CostTable) -> PlainTable:
    tasks = list(dict.fromkeys(task for row in table.rows for task in row.by_task))
    head, *rows = _without_empty([HEAD, *(_row(row, tasks) for row in table.rows)])
    title, notes = f"Cost: {table.model} on {table.machine}", tuple(_notes(table, tasks))
    return PlainTable(title, head, tuple(rows), notes, table.model)


def _without_empty(lines: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The lines without the columns that only the first of them fills."""
    filled = [place for place in range(len(lines[0])) if any(line[place] for line in lines[1:])]
    return [tuple(line[place] for place in filled) for line in lines]


def _row(row: CostRow, tasks: Sequence[str]) -> tuple[str, ...]:
    total, tokens = row.mean("total"), row.mean("tokens")
    flops = row.mean("flops")
    partial = "" if set(row.by_task) == set(tasks) else "*"
    return (
        row.label + partial,
        "" if row.relative is None else f"{row.relative:.2f}",
        "" if row.relative_cpu is None else f"{row.relative_cpu:.2f}",
        _time(row.mean("search")),
        _time(row.mean("train")),
        _time(row.mean("cpu")),
        _time(row.mean("wall")),
        f"{tokens / total:,.0f}" if tokens and total else "",
        *(_gibibytes(row, name) for name in ("peak_search", "peak_train", "peak")),
        "" if flops is None else f"{flops / 1e15:.3g}",
        str(row.runs),
    )


def _gibibytes(row: CostRow, name: str) -> str:
    peaks = [peak for costs in row.by_task.values() for cost in costs if (peak := getattr(cost, name))]
    return f"{max(peaks) / 2**30:.2f} GiB" if peaks else ""


def _time(seconds: float | None) -> str:
    return "" if seconds is None else "--" if seconds == 0 else numerals.duration(seconds)


def _notes(table: CostTable, tasks: Sequence[str]) -> list[str]:
    notes = [
        f"Means over seeds, then over the tasks {', '.join(tasks)}. Search and training: optimizer steps alone; "
        "wall clock: everything, loading and evaluation included. Peak: most memory of any run in the search, in the "
        "training of the final weights, in any phase.",
        "Times were taken on this one machine; times of different machines are never set side by side.",
    ]
    if any(row.mean("cpu") is not None for row in table.rows):
        notes.append(
            "CPU: processor time of search and training together, which other programs on the machine change little; "
            "empty where an older record does not say."
        )
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
