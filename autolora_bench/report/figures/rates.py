"""Score against learning rate, a curve per method: where each is best, and how much its rate matters."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from autolora_bench.report.figures.style import (
    Picture,
    file_name,
    legend_below,
    line_style,
    logarithmic,
    panels,
    picture,
)
from autolora_bench.report.tuning import TunedCell


def rate_figures(cells: Sequence[TunedCell]) -> list[Picture]:
    """One figure per model, a panel per task; none where nothing was tuned."""
    return [
        _picture(model, [cell for cell in cells if cell.model == model])
        for model in dict.fromkeys(cell.model for cell in cells)
    ]


def _picture(model: str, cells: Sequence[TunedCell]) -> Picture:
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    caption = (
        f"Tuning of {model}: headline score on held-out training data after the last epoch, by learning rate. "
        "A filled point is the rate that was chosen; a rate that diverged has no point."
    )
    alt = f"Score against learning rate on {', '.join(tasks)}, a curve per method."
    return picture(file_name("rates", model), model, caption, alt, lambda: _draw(tasks, cells))


def _draw(tasks: Sequence[str], cells: Sequence[TunedCell]) -> Figure:
    labels = list(dict.fromkeys(cell.label for cell in cells))
    figure, axes = panels(len(tasks), 2.9, 2.4, columns=3)
    for axis, task in zip(axes, tasks, strict=True):
        logarithmic(axis, "x")
        axis.set(title=task, xlabel="learning rate")
        for cell in (one for one in cells if one.task == task):
            points = [(rate, score) for rate, score in cell.trials.items() if score is not None]
            style = {**line_style(labels.index(cell.label)), "markerfacecolor": "none"}
            axis.plot([rate for rate, _ in points], [score for _, score in points], label=cell.label, **style)
            for rate, score in points:
                if rate == cell.chosen:
                    axis.plot(rate, score, **{**style, "markerfacecolor": style["color"]})
    legend_below(figure, axes)
    return figure
