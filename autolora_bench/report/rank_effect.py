"""Whether LoRA's rank makes a difference: where it makes none, allocations of ranks cannot be compared."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autolora_bench.report import numerals
from autolora_bench.report.columns import Column
from autolora_bench.report.numerals import plural
from autolora_bench.report.scoreboard import ALPHA, Row, Table

RANK = "method.rank"
DRAWS = 10_000


def rank_rows(rows: Sequence[Row]) -> dict[int, Row]:
    """Rows of LoRA that differ in nothing but the rank, by it."""
    found = {}
    for row in rows:
        settings = dict(row.variant)
        if row.method == "lora" and list(settings) == [RANK] and settings[RANK].isdecimal():
            found[int(settings[RANK])] = row
    return dict(sorted(found.items())) if len(found) > 1 else {}


def rank_notes(table: Table) -> list[str]:
    """A line per task on which LoRA was run with several ranks."""
    rows = rank_rows(table.rows)
    columns = {column.task: column for column in table.columns if column.headline}
    return [note for column in columns.values() if (note := _note(rows, column))]


def rank_test(scores: NDArray[np.float64], *, draws: int = DRAWS, seed: int = 0) -> float:
    """p of the hypothesis that rank makes no difference, by permuting the ranks of each seed.

    The statistic is the sum of squares between the ranks' means.

    Args:
        scores: (seeds, ranks).
        draws: random permutations; p is (1 + hits) / (1 + draws).
        seed: of the draws.
    """
    random = np.random.default_rng(seed)

    def between(values: NDArray[np.float64]) -> NDArray[np.float64]:
        means = values.mean(axis=-2)
        return np.asarray(((means - means.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))

    observed = between(scores)
    drawn = between(random.permuted(np.broadcast_to(scores, (draws, *scores.shape)), axis=-1))
    return float((1 + np.count_nonzero(drawn >= observed * (1 - 1e-9) - 1e-12)) / (1 + draws))


def _note(rows: dict[int, Row], column: Column) -> str | None:
    by_rank = {rank: row.cells[column].scores for rank, row in rows.items() if row.cells[column].scores}
    if len(by_rank) < 2:
        return None
    seeds = sorted(set.intersection(*(set(scores) for scores in by_rank.values())))
    ranks = ", ".join(map(str, by_rank))
    where = f"Rank, {column.title} {column.subtitle}: LoRA of ranks {ranks}"
    if len(seeds) < 2:
        return f"{where} share {plural(len(seeds), 'seed')}, too few to say whether rank makes a difference there."
    table = np.array([[by_rank[rank][seed] for rank in by_rank] for seed in seeds])
    means, p = table.mean(axis=0), rank_test(table)
    span = (
        f"{numerals.score(float(means.max() - means.min()))} points apart over {plural(len(seeds), 'seed')}"
    )
    answer = (
        "rank makes a difference there."
        if p < ALPHA
        else "no difference by rank is seen, so allocations of ranks cannot be compared there."
    )
    return f"{where} lie {span}, p {p:.3f} (ranks permuted within seeds): {answer}"
