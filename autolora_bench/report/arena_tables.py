"""The arena in words: a table per mode, a drawing of true beside found ranks, and one tidy CSV."""

from collections.abc import Sequence

import pandas as pd

from autolora_bench.report import numerals
from autolora_bench.report.arena import (
    CLEAR,
    CORRELATION,
    MEASURES,
    UNIFORM,
    Arena,
    RankProfile,
    fewer_plants,
)
from autolora_bench.report.formats import MISSING, PlainTable
from autolora_bench.report.runs import computed_apart
from autolora_bench.report.significance import INTERVAL_UNITS
from autolora_bench.report.units import metric_title
from autolora_bench.untrusted import csv_cell

BLOCKS = "\N{MIDDLE DOT}▁▂▃▄▅▆▇█"
"""No rank, then eighths of the largest."""
MIXED = "on several machines, or in several ways, for one plant"
"""How the starts of a plant were made that have no `hardware` in common."""
GAPS = 5
"""So many commands of what is missing are named."""


def arena_tables(arenas: Sequence[Arena]) -> list[PlainTable]:
    """Every arena's table, then every arena's ranks."""
    return [*map(_table, arenas), *(drawn for arena in arenas if (drawn := _drawing(arena)))]


def arena_csv(arenas: Sequence[Arena]) -> str:
    """A line per arena and allocator, numbers unrounded, for other programs; the plants of the regret where they are
    fewer than those of the error in some line."""
    frames = []
    for arena in arenas:
        rates = [" ".join(f"{rate:g}:{n}" for rate, n in found.items()) for found in arena.rows["rates"]]
        told = arena.rows.assign(rates=rates)
        told.insert(0, "model", arena.model)
        told.insert(1, "mode", arena.mode)
        told.insert(2, "setting", arena.setting)
        frames.append(told)
    whole = pd.concat(frames, ignore_index=True)
    if not any(fewer_plants(row) for _, row in whole.iterrows()):
        whole = whole.drop(columns="regret_plants")
    return str(whole.map(csv_cell).to_csv(index=False, lineterminator="\n"))


def _table(arena: Arena) -> PlainTable:
    told = [name for name in (*arena.correlations, *MEASURES) if _shown(arena, name)]
    head = ("method", *map(_heading, told), "learning rate", "plants")
    rows = [
        (
            str(row["title"]),
            *(_field(row, name) for name in told),
            ", ".join(
                f"{rate:g}" + (f" ({n})" if sum(row["rates"].values()) > 1 else "")
                for rate, n in row["rates"].items()
            ),
            str(row["plants"]) + (f" (regret: {row['regret_plants']})" if fewer_plants(row) else ""),
        )
        for _, row in arena.rows.iterrows()
    ]
    return PlainTable(arena.title, head, tuple(rows), tuple(_notes(arena)), arena.model)


def _shown(arena: Arena, name: str) -> bool:
    """Errors and the correlation over all layers always, other measures where a row has one."""
    return name in ("error", CORRELATION) or bool(arena.rows[name].notna().any())


def _heading(name: str) -> str:
    if name.startswith(CORRELATION):
        return metric_title(name)
    return {
        "error": "test error", "cost": "cost, LoRA trainings", "total": "total rank"
    }.get(name, name)  # fmt: skip


def _field(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return MISSING
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    within = name != "total" and name != "cost" and pd.notna(low)
    return _number(name, row[name]) + (f" [{_number(name, low)}, {_number(name, high)}]" if within else "")


def _number(name: str, value: float) -> str:
    if name == "error":
        return f"{value:.4f}"
    return f"{value:.0f}" if name == "total" else numerals.score(value)


def _notes(arena: Arena) -> list[str]:
    chosen = (
        "The learning rate of every method is chosen for each plant by the error on validation inputs, which are "
        "neither trained on nor tested; not by the test, not by the truth. In brackets behind a rate: how many plants, "
        "and starts of these, chose it."
    )
    given = "Each method has the one learning rate that it was run with: nothing was tuned."
    several = any(len(grid) > 1 for grid in arena.grids.values())
    notes = [
        f"Means over plants, in brackets the 95 % interval by bootstrap over plants, none under {INTERVAL_UNITS}. "
        f"{chosen if several else given}",
        "rank correlation: Spearman, found with true ranks, over all layers; planted: over the layers with an update. "
        "test error: over that of the untrained student.",
    ]
    if arena.rows.empty:
        notes.append("No run is completed.")
    elif arena.rows["regret"].notna().any() or arena.unclear:
        notes.append(
            "regret: (error - oracle's) / (uniform's - oracle's), 0 is as good as to know the truth, 1 as good as "
            f"uniform ranks. It counts only where the oracle clearly beats uniform ranks: error at most {CLEAR:g} of "
            "theirs."
        )
    else:
        notes.append("No regret: it needs the methods oracle and lora_uniform on the same plants.")
    if arena.unclear:
        named = ", ".join(map(str, arena.unclear))
        notes.append(f"The oracle does not clearly beat uniform ranks on plants {named}: no regret there.")
    if not arena.ordered and not arena.rows.empty:
        notes.append(
            "The truth prefers no layer: there is nothing to find, and a correlation is not defined."
        )
    if arena.rows["agreement"].notna().any():
        notes.append("agreement: Spearman of the ranks of every two starts of one plant.")
    if arena.rows["cost"].notna().any():
        notes.append(
            "cost: processor seconds of all optimizer steps, search included, over those of LoRA with uniform ranks on "
            "the same plant and machine. Trying several learning rates costs every method as many times more."
        )
    grids = set(arena.grids.values())
    usual = max(grids, key=len, default=())
    notes += [
        f"{label} was tried with the learning rates {_rates(grid)} alone, others with {_rates(usual)}."
        for label, grid in arena.grids.items()
        if grid != usual
    ]
    if arena.uneven:
        notes.append(
            "Not tried with the same learning rates on every plant and start (a start with fewer than another of its "
            f"plant is left out): {'; '.join(arena.uneven)}."
        )
    return [*notes, *_costless(arena), *arena.told_apart, *_fewer(arena), *_gaps(arena)]


def _costless(arena: Arena) -> list[str]:
    """Rows without a cost, as their runs were not made as those of LoRA with uniform ranks."""
    references = [
        number
        for number, line in arena.rows.iterrows()
        if line["method"] == UNIFORM and (arena.plants.loc[number, "cost"] == 1).any()
    ]
    found: dict[str, list[str]] = {}
    for number, line in arena.rows.iterrows() if references else ():
        own = arena.plants.loc[number]
        base = arena.plants.loc[references[0]].reindex(own.index)
        both = own["cpu"].notna() & base["cpu"].notna()
        machines = [*own["hardware"][both], *base["hardware"][both]]
        apart = MIXED if any(map(pd.isna, machines)) else computed_apart(machines)
        if apart and own["cost"].isna().all():
            found.setdefault(apart, []).append(str(line["title"]))
    titles = dict(arena.rows["title"])
    return [
        f"No cost: {', '.join(labels)}, as their runs and those of {titles[references[0]]} were made {apart}."
        for apart, labels in found.items()
    ]


def _fewer(arena: Arena) -> list[str]:
    """Whose means are over other plants than those of the others, and which are over fewer than the row has."""
    run = {number: tuple(arena.plants.loc[number].index) for number in arena.rows.index}
    usual = max(run.values(), key=list(run.values()).count, default=())
    few = list(run.values()).count(usual) * 2 <= len(run)
    others = [
        f"{arena.rows.loc[number, 'title']} on {_plants(own)}"
        for number, own in run.items()
        if few or own != usual
    ]
    nothing = [str(line["title"]) for _, line in arena.rows.iterrows() if not line["plants"]]
    fewer = []
    for number, line in arena.rows.iterrows():
        own = arena.plants.loc[number]
        clear = own[~own.index.isin(arena.unclear)]
        parts = [
            f"{_heading(name)} {held.notna().sum()} of {len(held)}"
            for name in ("error", *arena.correlations, "regret", "cost")
            if 0 < (held := (clear if name == "regret" else own)[name]).notna().sum() < len(held)
        ]
        fewer += [f"{line['title']} ({', '.join(parts)})"] if parts else []
    start = "Not run on the same plants: " if few else f"Most were run on {_plants(usual)}; "
    over = "Defined on fewer plants than were run, so means over these alone"
    return [
        *([f"{start}{'; '.join(others)}."] if len(set(run.values())) > 1 else []),
        *([f"Without a score, as every rate diverged or has none: {'; '.join(nothing)}."] if nothing else []),
        *([f"{over}: {'; '.join(fewer)}."] if fewer else []),
    ]


def _plants(plants: Sequence[int]) -> str:
    return f"plant{'s' if len(plants) != 1 else ''} {', '.join(map(str, plants))}"


def _rates(grid: Sequence[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in grid)


def _gaps(arena: Arena) -> list[str]:
    named = [f"Not completed: {gap.what}. {gap.command}" for gap in arena.unfilled[:GAPS]]
    more = len(arena.unfilled) - GAPS
    return named + (
        [f"Not completed, {more} more: autolora-bench status lists all commands."] if more > 0 else []
    )


def _drawing(arena: Arena) -> PlainTable | None:
    """True and found ranks below each other, legible without colours."""
    if arena.truth is None:
        return None
    profiles = [arena.truth, *arena.found]
    top = max(rank for profile in profiles for rank in profile.ranks)
    rows = tuple(
        (p.label, _strip(p, top), " ".join(numerals.rank(rank) for rank in p.ranks)) for p in profiles
    )
    full = numerals.rank(top)
    note = (
        f"One place per layer, in the order of their true ranks; {arena.averaged}. "
        f"A dot is rank 0, a full block {full}."
    )
    return PlainTable(
        f"{arena.title}: true and found ranks",
        ("method", "ranks", ""),
        rows,
        (note,),
        arena.model,
        drawn=True,
    )


def _strip(profile: RankProfile, top: float) -> str:
    """A rank that is not 0 is never drawn as 0."""
    eighths = [max(int(8 * rank / max(top, 1.0) + 0.5), 1 if rank >= 0.05 else 0) for rank in profile.ranks]
    return "".join(BLOCKS[eighth] for eighth in eighths)
