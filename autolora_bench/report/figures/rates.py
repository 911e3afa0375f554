"""Score against learning rate, a curve per method: where each is best, and how much its rate matters."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from autolora_bench.report.figures.style import (
    Picture,
    file_name,
    label_ends,
    line_style,
    logarithmic,
    panels,
    picture,
    room_for,
)
from autolora_bench.report.palette import Look, looks
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
    families = {cell.label: cell.family for cell in cells}
    styles = dict(zip(families, looks(list(families.values())), strict=True))
    subject = f"Learning rates: {model}"
    return picture(file_name("rates", model), subject, caption, alt, lambda: _draw(tasks, cells, styles))


def _draw(tasks: Sequence[str], cells: Sequence[TunedCell], styles: Mapping[str, Look]) -> Figure:
    across, high = room_for(list(styles))
    size = (2.6 + across, max(2.4, high))
    figure, axes = panels(len(tasks), *size, columns=2)
    for axis, task in zip(axes, tasks, strict=True):
        logarithmic(axis, "x")
        axis.set(title=task, xlabel="learning rate")
        ends = []
        for cell in (one for one in cells if one.task == task):
            points = [(rate, score) for rate, score in cell.trials.items() if score is not None]
            style = {**line_style(styles[cell.label]), "markerfacecolor": "none"}
            axis.plot([rate for rate, _ in points], [score for _, score in points], **style)
            ends += [(cell.label, *point, style["color"]) for point in points[-1:]]
            for rate, score in points:
                if rate == cell.chosen:
                    axis.plot(rate, score, **{**style, "markerfacecolor": style["color"]})
        label_ends(axis, ends, size[1])
    return figure
