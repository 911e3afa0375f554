"""Training time against AdaLoRA's (the paper's Table 5), search and retraining apart."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from autolora_bench.report.cost import CostRow, CostTable
from autolora_bench.report.figures.style import COLOURS, file_name, picture, row_height, wrapped
from autolora_bench.report.picture import Picture
from autolora_bench.report.scoreboard import seeds_of


def cost_figures(tables: Sequence[CostTable]) -> list[Picture]:
    """One figure per model and machine on which AdaLoRA and another method were run."""
    found = []
    for table in tables:
        rows = [row for row in table.rows if row.relative is not None]
        if len(rows) > 1:
            found.append(_picture(table, rows))
    return found


def _picture(table: CostTable, rows: list[CostRow]) -> Picture:
    tasks = dict.fromkeys(table.titles[task] for row in rows for task in row.shared)
    caption = (
        "Training time, AdaLoRA = 1, mean over seeds, then over tasks. Evaluation and loading are left out. "
        "grid: the ranks of LoRA that were run, added up."
    )
    subject = f"{table.model} on {table.machine}; {', '.join(tasks)}; {seeds_of(table.seeds)}"
    alt = "Bars: " + ", ".join(f"{row.label} {row.relative:.2f}" for row in rows) + "."
    return picture(file_name("cost", table.model, table.machine), subject, caption, alt, lambda: _draw(rows))


def _draw(rows: list[CostRow]) -> Figure:
    labels = [wrapped(row.label) for row in rows]
    figure = Figure(figsize=(6.0, row_height(labels) * len(rows) + 1.1), layout="constrained")
    axis = figure.subplots()
    places = range(len(rows))
    search = [row.relative_search or 0.0 for row in rows]
    train = [(row.relative or 0.0) - part for row, part in zip(rows, search, strict=True)]
    axis.barh(places, search, color=COLOURS[4], edgecolor="#333333", hatch="///", label="search")
    axis.barh(
        places,
        train,
        left=search,
        color=COLOURS[5],
        edgecolor="#333333",
        label="training of the final weights",
    )
    for place, row in zip(places, rows, strict=True):
        axis.annotate(
            f"{row.relative:.2f}",
            (row.relative or 0.0, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axis.axvline(1.0, color="#333333", linewidth=0.8, linestyle="--")
    axis.set_yticks(places, labels)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("training time / AdaLoRA's")
    axis.margins(x=0.12)
    if any(search):
        figure.legend(loc="outside lower center", ncols=2)
    return figure
