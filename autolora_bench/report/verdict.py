"""What a table says, in one sentence taken from its statistics, and how far a reader can trust it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from autolora_bench.config.registry import UNTRAINED
from autolora_bench.errors import listed
from autolora_bench.report import numerals
from autolora_bench.report.arena import ORACLE, Arena, fewer_plants
from autolora_bench.report.chance import Chance, guessed
from autolora_bench.report.numerals import plural
from autolora_bench.report.quality import column_title
from autolora_bench.report.runs import hardware
from autolora_bench.report.scoreboard import FEW, Claim, Column, Table, seeds_of
from autolora_bench.report.significance import bootstrap_interval, smallest_separable
from autolora_bench.report.standings import Standings
from autolora_bench.report.tuning import TunedCell, tuned_ids

NAMED = 4
"""So many rows or comparisons are named in a sentence."""
REFERENCES = (ORACLE, "lora_uniform", "reversed")
"""Controls of an arena that define the scale, and are no finding."""


@dataclass(frozen=True)
class Badge:
    """One reason to trust a table, or not to."""

    name: str
    says: str
    sound: bool | None
    """None where it is a fact and no judgement."""


@dataclass(frozen=True)
class Card:
    """The verdict on one table or arena."""

    title: str
    model: str
    sentence: str
    badges: tuple[Badge, ...]


def card_of(
    table: Table,
    standing: Standings | None,
    chances: Mapping[Column, Chance],
    tuned: Sequence[TunedCell],
) -> Card:
    """The verdict on a table of scores.

    Args:
        table: of one model.
        standing: of its main column; None where nothing is completed.
        chances: what guessing scores.
        tuned: what was tuned before it was compared, of all models.
    """
    sentence = _sentence(table, standing) if standing else "Nothing is completed yet."
    return Card(table.model, table.model, sentence, tuple(_badges(table, dict(chances), tuned)))


def _sentence(table: Table, standing: Standings) -> str:
    separated = [claim for claim in table.claims if claim.separated]
    tested = [claim for claim in table.claims if claim.adjusted is not None]
    if separated:
        told = [_told(table, claim) for claim in _widest(separated)]
        return f"Separated after correction: {listed(told, NAMED, '; ')}."
    if tested:
        told = [_told(table, claim) for claim in _widest(tested)[:NAMED]]
        count = len(tested)
        if count == 1:
            return f"Not separated, in the one comparison that could be tested: {told[0]}."
        return (
            f"None of the {count} comparisons that could be tested separates two methods: {'; '.join(told)}."
        )
    best = table.rows[standing.order[0]]
    score = best.cells[standing.column].mean
    assert score is not None
    first = (
        f"{best.label} has the best {column_title(standing.column)} of {plural(len(standing.order), 'method')} "
        f"({standing.column.written(score)})"
    )
    if len(standing.order) < 2:
        return f"Only {best.label} has a score ({standing.column.written(score)}): there is nothing to compare it with."
    if standing.tested:
        ties = [table.rows[row].label for row in standing.ties(standing.order[0])]
        return (
            f"{first}; not separated from it: {listed(ties, NAMED)}."
            if ties
            else f"{first}, separated from every other."
        )
    return (
        f"{first}, but this ranks nothing: a test needs {smallest_separable()} shared seeds of one task or as many "
        f"tasks, and no pair of methods here has them{_seen(table)}."
    )


def _seen(table: Table) -> str:
    """The widest declared differences that could not be tested."""
    told = [_told(table, claim) for claim in _widest(table.claims)[:2]]
    return f" (seen: {'; '.join(told)})" if told else ""


def _widest(claims: Sequence[Claim]) -> list[Claim]:
    """One claim per pair of rows, the one over most tasks."""
    found: dict[tuple[int, int], Claim] = {}
    for claim in claims:
        pair = (claim.first, claim.second)
        if pair not in found or len(claim.columns) > len(found[pair].columns):
            found[pair] = claim
    return list(found.values())


def _told(table: Table, claim: Claim) -> str:
    first, second = table.rows[claim.first].label, table.rows[claim.second].label
    interval = bootstrap_interval(claim.differences)
    ends = f", 95 % interval {' to '.join(map(numerals.difference, interval))}" if interval else ""
    where = column_title(claim.columns[0]) if len(claim.columns) == 1 else plural(len(claim.columns), "task")
    p = f", p {numerals.p_value(claim.adjusted, 3)} after correction" if claim.adjusted is not None else ""
    return f"{first} against {second} {numerals.difference(claim.mean)} (on {where}{ends}{p})"


def _badges(table: Table, chances: dict[Column, Chance], tuned: Sequence[TunedCell]) -> list[Badge]:
    runs = [run for row in table.rows for run in row.runs]
    records = [run.completed for run in runs if run.completed]
    if not records:
        return [Badge("runs", f"none of {len(runs)} completed", False)]
    seeds = sorted({record.seed for record in records})
    usual = table.usual_n
    found = [Badge("seeds", f"{plural(usual, 'seed')} in most cells ({seeds_of(seeds)})", usual >= FEW)]
    open_rows = {gap.label for gap in table.unfilled} - {row.label for row in table.rows}
    done = f"{len(records)} of {len(runs)} completed" if len(records) < len(runs) else "all completed"
    more = f"; none of {listed(sorted(open_rows), NAMED)}" if open_rows else ""
    found.append(Badge("runs", done + more, len(records) == len(runs) and not open_rows))
    marked = [column.title for column in table.columns if column.task in table.marked]
    parts = ", ".join(dict.fromkeys(marked))
    found.append(Badge("data", f"not whole: {parts}" if marked else "whole data sets", not marked))
    found.append(_tuning_badge(table, [one for one in tuned if one.model == table.model]))
    if chances:
        none = guessed(table, chances)
        told = [f"{count} of {whole} on {column_title(column)}" for column, (count, whole) in none.items()]
        said = f"no better than guessing: {listed(told, NAMED)}" if none else "every score is above it"
        found.append(Badge("chance", said, not none))
    if any(column.epoch == "best" for column in table.columns):
        found.append(Badge("epoch", "the best one, chosen on the scored split", False))
    machines = list(dict.fromkeys(hardware(record) for record in records))
    found.append(Badge("hardware", listed(machines, NAMED), None))
    return found


def _tuning_badge(table: Table, tuned: Sequence[TunedCell]) -> Badge:
    ids = tuned_ids(tuned)
    rows = [row for row in table.rows if row.method != UNTRAINED and any(run.completed for run in row.runs)]
    without = [
        row.label for row in rows if any(run.completed and run.config_id not in ids for run in row.runs)
    ]
    if not ids or len(without) == len(rows):
        return Badge("learning rates", "not tuned: a difference may be one of rates", False)
    if without:
        return Badge("learning rates", f"tuned on held-out data, but for {listed(without, NAMED)}", False)
    return Badge("learning rates", "tuned on held-out data", True)


def arena_card(arena: Arena) -> Card:
    """The verdict on one arena: who is nearer to the truth than uniform ranks are."""
    plants = len(arena.plants.index.unique("plant"))
    counted = len(arena.plants["regret"].dropna().index.unique("plant"))
    told = plural(plants, "plant") + (f", regret on {counted}" if 0 < counted < plants else "")
    grid = {len(rates) for rates in arena.grids.values()} or {0}
    fewest, most = min(grid), max(grid)
    badges = [
        Badge("plants", told, bool(arena.rows["regret_low"].notna().any())),
        _rates_badge(fewest, most),
    ]
    if arena.unfilled:
        missing = plural(len(arena.unfilled), "group")
        badges.append(Badge("runs", f"{missing} not completed", False))
    machines = sorted({str(name) for name in arena.plants["hardware"].dropna()})
    badges.append(Badge("hardware", listed(machines, NAMED), None))
    return Card(arena.title, arena.model, _arena_sentence(arena), tuple(badges))


def _rates_badge(fewest: int, most: int) -> Badge:
    """How many learning rates each method was tried with: a method with fewer is not shown at its best."""
    if most < 2:
        return Badge("learning rates", "one for all, not tuned", False)
    if fewest < most:
        return Badge(
            "learning rates", f"{fewest} to {most} tried, not the same number for all methods", False
        )
    return Badge("learning rates", f"{most} tried, chosen by validation error", True)


def _arena_sentence(arena: Arena) -> str:
    if not arena.ordered:
        return (
            "The truth prefers no layer, so there is nothing to find: what differs here is not due to ranks."
        )
    rows = arena.rows[~arena.rows["method"].isin(REFERENCES)]
    known = rows.dropna(subset=["regret"])
    if known.empty and arena.unclear and arena.rows["regret"].isna().all():
        return "No regret is known: the oracle does not clearly beat uniform ranks on any plant."
    if known.empty:
        return "No regret is known: it needs the methods oracle and lora_uniform on the same plants."
    sure = known.dropna(subset=["regret_low"])
    if sure.empty:
        told = "; ".join(_regret(row) for _, row in known.head(NAMED).iterrows())
        return f"Too few plants for an interval; the lowest regrets (0: knows the truth, 1: uniform ranks): {told}."
    near = sure[sure["regret_high"] < 1.0]
    far = sure[sure["regret_low"] > 1.0]
    said = [f"{len(near)} of {len(sure)} methods have a lower error than uniform ranks"]
    if len(near):
        said[0] += f", lowest {' and '.join(_regret(row) for _, row in near.head(2).iterrows())}"
    rest = len(sure) - len(near) - len(far)
    said.append(f"{rest} are not told from uniform ranks, {len(far)} are worse")
    own = sure[sure["method"] == "autolora"]
    if len(own):
        said.append("; ".join(_regret(row) for _, row in own.iterrows()))
    return (
        f"{'; '.join(said)}. In brackets regret with its 95 % interval; 0: knows the truth, 1: uniform ranks."
    )


def _regret(row: pd.Series) -> str:
    interval = ""
    if pd.notna(row["regret_low"]):
        interval = f", {numerals.score(row['regret_low'])} to {numerals.score(row['regret_high'])}"
    fewer = fewer_plants(row)
    return f"{row['title']} ({numerals.score(row['regret'])}{interval}{f', {fewer}' if fewer else ''})"
