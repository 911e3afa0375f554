"""Training time against AdaLoRA's (the paper's Table 5), search and retraining apart."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from autolora_bench.report.costs import CostTable
from autolora_bench.report.figures.grid import panels
from autolora_bench.report.figures.style import (
    DARK,
    PALE,
    Picture,
    file_name,
    picture,
    room_at_left,
    row_height,
    wrapped,
)
from autolora_bench.report.scoreboard import seeds_of


def cost_figures(tables: Sequence[CostTable]) -> list[Picture]:
    """One figure per model and machine on which AdaLoRA and another method were run."""
    found = []
    for table in tables:
        rows = table.rows[table.rows["relative"].notna()]
        if len(rows) > 1:
            found.append(_picture(table, rows))
    return found


def _picture(table: CostTable, rows: pd.DataFrame) -> Picture:
    tasks = dict.fromkeys(table.titles[task] for shared in rows["shared"] for task in shared)
    caption = (
        "Training time, AdaLoRA = 1, mean over seeds, then over tasks. Evaluation and loading are left out. "
        "grid: the ranks of LoRA that were run, added up."
    )
    subject = f"Cost: {table.model} on {table.machine}; {', '.join(tasks)}; {seeds_of(table.seeds)}"
    alt = "Bars: " + ", ".join(f"{label} {ratio:.2f}" for label, ratio in rows["relative"].items()) + "."
    return picture(file_name("cost", table.model, table.machine), subject, caption, alt, lambda: _draw(rows))


def _draw(rows: pd.DataFrame) -> Figure:
    labels = [wrapped(str(label)) for label in rows.index]
    figure, (axis,) = panels([""], 3.45, row_height(labels) * len(rows), names=room_at_left(labels))
    places = range(len(rows))
    whole, search = rows["relative"].tolist(), rows["relative_search"].tolist()
    train = [ratio - part for ratio, part in zip(whole, search, strict=True)]
    axis.barh(places, search, color="white", edgecolor=DARK, hatch="////", label="search")
    axis.barh(
        places,
        train,
        left=search,
        color=PALE,
        edgecolor=DARK,
        label="training of the final weights",
    )
    for place, ratio in zip(places, whole, strict=True):
        axis.annotate(
            f"{ratio:.2f}",
            (ratio, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    axis.axvline(1.0, color=DARK, linewidth=0.8, linestyle="--")
    axis.set_yticks(places, labels)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("training time / AdaLoRA's")
    axis.margins(x=0.12)
    if any(search):
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return figure
