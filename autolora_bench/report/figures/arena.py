"""The arena's figures: true beside found ranks, and regret against cost."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from autolora_bench.report.arena import Arena, RankProfile, fewer_plants
from autolora_bench.report.figures.grid import panels, squares
from autolora_bench.report.figures.style import (
    LINE,
    MIDDLE,
    TICKS,
    Picture,
    file_name,
    label_points,
    line_style,
    logarithmic,
    picture,
    room_at_left,
    room_at_right,
    shortened,
    wrapped,
)
from autolora_bench.report.palette import Look, looks


def arena_figures(arenas: Sequence[Arena]) -> list[Picture]:
    """A heat map per arena, and one scatter per model."""
    maps = [_heat_map(arena, arena.truth) for arena in arenas if arena.truth and arena.found]
    scattered = []
    for model in dict.fromkeys(arena.model for arena in arenas):
        shown = [one for one in arenas if one.model == model and not _points(one).empty]
        if shown:
            scattered.append(_scatter(model, shown))
    return [*maps, *scattered]


def _plants(arenas: Sequence[Arena]) -> str:
    plants = sorted({plant for arena in arenas for plant in arena.plants.index.unique("plant")})
    return f"plant{'s' if len(plants) > 1 else ''} {', '.join(map(str, plants))}"


def _heat_map(arena: Arena, truth: RankProfile) -> Picture:
    profiles = [truth, *arena.found]
    return picture(
        file_name("arena-ranks", *filter(None, [arena.model, arena.mode, arena.setting])),
        f"{arena.title}; {_plants([arena])}",
        "Planted ranks and below them those each method found, layers in the order of their planted ranks, "
        f"{arena.averaged}; darker is higher.",
        "Heat map of ranks: "
        + "; ".join(f"{p.label} {', '.join(f'{rank:.1f}' for rank in p.ranks)}" for p in profiles)
        + ".",
        lambda: _draw_map(profiles),
    )


def _draw_map(profiles: Sequence[RankProfile]) -> Figure:
    layers, top = len(profiles[0].ranks), max(rank for p in profiles for rank in p.ranks)
    labels = [wrapped(profile.label) for profile in profiles]
    high = max(0.3, LINE * max(label.count("\n") + 1 for label in labels) + 0.04)
    figure, (axis,) = panels([""], 0.34 * layers, high * len(profiles), names=room_at_left(labels))
    axis.grid(visible=False)
    found = [
        (float(x), float(y), rank)
        for y, profile in enumerate(profiles)
        for x, rank in enumerate(profile.ranks)
    ]
    squares(axis, found, (1.0, 1.0), top)
    axis.axhline(0.5, color="black", linewidth=1.0)
    axis.set(xlim=(-0.5, layers - 0.5), ylim=(len(profiles) - 0.5, -0.5), xlabel="layers, by planted rank")
    axis.set_xticks([])
    axis.set_yticks(range(len(profiles)), labels)
    axis.tick_params(length=0)
    return figure


def _points(arena: Arena) -> pd.DataFrame:
    return arena.rows.dropna(subset=["regret", "cost"])


def _scatter(model: str, arenas: Sequence[Arena]) -> Picture:
    told = [
        f"{arena.title}: " + ", ".join(_told(row) for _, row in _points(arena).iterrows()) for arena in arenas
    ]
    return picture(
        file_name("arena-regret", model),
        f"{model}; {_plants(arenas)}",
        "Regret (0: as good as to know the truth, 1: as good as uniform ranks) against cost in LoRA trainings. Bars: "
        "95 % interval over plants, where there are six.",
        f"Scatter plot of regret against cost. Regret by panel: {'; '.join(told)}.",
        lambda: _draw_scatter(arenas),
    )


def _told(row: pd.Series) -> str:
    fewer = fewer_plants(row)
    return f"{row['title']} {row['regret']:.2f}" + (f" on {fewer}" if fewer else "")


def _draw_scatter(arenas: Sequence[Arena]) -> Figure:
    families = {title: family for arena in arenas for title, family in arena.families.items()}
    titles = [str(title) for title in dict.fromkeys(t for arena in arenas for t in arena.rows["title"])]
    style = dict(zip(titles, looks([families[title] for title in titles]), strict=True))
    names = shortened(titles)
    figure, enough = _regrets(arenas, style, names, 3.45)
    return figure if enough else _regrets(arenas, style, names, room_at_right(titles)[1])[0]


def _regrets(
    arenas: Sequence[Arena], style: Mapping[str, Look], names: Mapping[str, str], high: float
) -> tuple[Figure, bool]:
    """With panels so many inches high, and whether that is enough for all names."""
    across, enough = room_at_right(names.values())[0], True
    headings = [", ".join(filter(None, [arena.mode, arena.setting])) for arena in arenas]
    figure, axes = panels(headings, 3.05, high, columns=2, left=TICKS + LINE, right=across)
    for axis, arena in zip(axes, arenas, strict=True):
        points = _points(arena)
        for _, row in points.iterrows():
            look = {**line_style(style[row["title"]]), "linestyle": "none", "markerfacecolor": "none"}
            bars = [
                [max(row["regret"] - row["regret_low"], 0.0)],
                [max(row["regret_high"] - row["regret"], 0.0)],
            ]
            known = pd.notna(row["regret_low"])
            axis.errorbar(row["cost"], row["regret"], bars if known else None, **look)
        axis.set_xlim(points["cost"].min() / 1.3, points["cost"].max() * 1.3)
        logarithmic(axis, "x")
        for level in (0.0, 1.0):
            axis.axhline(level, color=MIDDLE, linewidth=0.8)
        axis.set(xlabel="cost, LoRA trainings", ylabel="regret")
        named = [
            (names[str(row["title"])], row["cost"], row["regret"], style[str(row["title"])].colour)
            for _, row in points.iterrows()
        ]
        enough &= label_points(axis, named)
    return figure, enough
