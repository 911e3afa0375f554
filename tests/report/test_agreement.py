"""Agreement of ranks over seeds and tasks against scipy, and against every deal and every pair written out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from autolora_bench.record import LayerRank, RunRecord
from autolora_bench.report.agreement import across_groups, rank_agreement, settings_agreement, task_agreement
from autolora_bench.report.build import report_stability
from autolora_bench.report.prepared import prepare

Ranks = list[list[int]]


@pytest.mark.parametrize("drawn", [True, False])
def test_the_ranks_of_any_method_are_compared_from_records_alone(
    make: Callable[..., RunRecord], drawn: bool
) -> None:
    found = {0: [1, 4, 2, 8, 5], 1: [2, 4, 1, 8, 5], 2: [3, 4, 1, 6, 6]}
    records = []
    for method, ranks in (("adalora", found), ("lora", dict.fromkeys(found, [4] * 5))):
        for seed, own in ranks.items():
            record = make("rte", method, seed, 0.7)
            record.ranks = [LayerRank(f"{n}.query", n, "query", rank) for n, rank in enumerate(own)]
            if drawn:  # the ranks that were planted differ from seed to seed
                record.config = {**record.config, "task": {**record.config["task"], "truth": [1, 2]}}
            records.append(record)
    table = rank_agreement(prepare(records).tables)
    if drawn:
        assert table is None
        return
    assert table is not None
    pairs = [(found[a], found[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    wanted = [np.mean([measure(*pair)[0] for pair in pairs]) for measure in (stats.pearsonr, stats.spearmanr)]
    (row,) = table.rows
    assert row[1:4] == ("3", *(f"{value:.2f}" for value in wanted))
    assert row[5:] == ("1", "8", "20.0 ± 0.0")
    assert float(row[4].lstrip("<")) < 0.05
    assert "Agreement of ranks over seeds" in report_stability(records)


def noise(runs: int, layers: int = 12, seed: int = 0) -> Ranks:
    return np.random.default_rng(seed).integers(0, 9, (runs, layers)).tolist()


def by_hand(ranks: Ranks, tasks: Sequence[str], seeds: Sequence[int]) -> tuple[float, float]:
    """Mean correlation within and across tasks, pair by pair."""
    sides: dict[bool, list[float]] = {True: [], False: []}
    for i, j in combinations(range(len(ranks)), 2):
        if seeds[i] != seeds[j]:
            sides[tasks[i] == tasks[j]].append(np.corrcoef(ranks[i], ranks[j])[0, 1])
    return float(np.mean(sides[True])), float(np.mean(sides[False]))


@pytest.mark.parametrize("start", range(4))
def test_the_tasks_are_dealt_to_the_runs_of_each_seed(start: int) -> None:
    """All 3!^2 deals that differ: the tasks of the first seed stay, as names do not matter."""
    names, seeds = ["a", "b", "c"] * 3, [0, 0, 0, 1, 1, 1, 2, 2, 2]
    ranks = noise(9, seed=start)
    found = across_groups(ranks, names, seeds)
    assert found is not None
    within, across = by_hand(ranks, names, seeds)
    assert (found.within, found.across) == (pytest.approx(within), pytest.approx(across))
    deals = [[*"abc", *second, *third] for second, third in product(permutations("abc"), repeat=2)]
    differences = np.array([np.subtract(*by_hand(ranks, deal, seeds)) for deal in deals])
    assert found.difference_p == pytest.approx(np.mean(differences >= found.difference - 1e-9))
    seen = [value for value in differences if np.mean(differences >= value - 1e-9) <= 0.05]
    assert found.seen_from == pytest.approx(min(seen, default=None))


def test_ranks_of_the_task_alone_are_told_from_ranks_of_the_network_alone() -> None:
    tasks, seeds = ["a", "b"] * 6, [seed for seed in range(6) for _ in "ab"]
    first, second = noise(2)
    own = across_groups([first, second] * 6, tasks, seeds)
    assert own is not None
    assert own.within == pytest.approx(1.0)
    assert own.difference_p == pytest.approx(2.0**-5)  # two deals of 2^6 part them
    one = across_groups([first] * 12, tasks, seeds)
    assert one is not None
    assert (one.within, one.across, one.difference_p) == (pytest.approx(1.0), pytest.approx(1.0), 1.0)
    assert one.across_p < 0.001


def test_few_runs_cannot_show_a_difference() -> None:
    first, second = noise(2)
    found = across_groups([first, second] * 3, ["a", "b"] * 3, [0, 0, 1, 1, 2, 2])
    assert found is not None
    assert found.difference_p == pytest.approx(0.25)
    assert found.seen_from is None


def test_ranks_that_a_seed_gives_every_task_are_no_agreement() -> None:
    """Random ranks drawn by the seed: the same on all tasks, which make no more of them."""
    shares = []
    for start in range(60):
        drawn = noise(4, seed=start)
        ranks = [own for own in drawn for _ in range(5)]
        found = across_groups(ranks, list("abcde") * 4, [s for s in range(4) for _ in range(5)], draws=200)
        assert found is not None
        shares.append(found.across_p)
    assert stats.kstest(shares, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("tasks", "seeds"),
    [("aa", [0, 1]), ("ab", [0, 1]), ("ab", [0, 0]), ("aab", [0, 0, 0]), ("a", [0]), ("", [])],
)
def test_nothing_to_compare(tasks: str, seeds: list[int]) -> None:
    assert across_groups(noise(len(seeds)), tasks, seeds) is None


def test_equal_ranks_are_left_out() -> None:
    ranks = noise(6)
    tasks, seeds = ["a", "b"] * 3, [0, 0, 1, 1, 2, 2]
    more = across_groups([*ranks, [4] * 12], [*tasks, "c"], [*seeds, 3])
    assert more is not None
    assert more == across_groups(ranks, tasks, seeds)
    assert more.groups == ("a", "b")


def test_drawn_deals_are_near_all_deals(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, seeds = ["a", "b", "c"] * 3, [0, 0, 0, 1, 1, 1, 2, 2, 2]
    exact = across_groups(noise(9), tasks, seeds)
    monkeypatch.setattr("autolora_bench.report.agreement.ALL_DEALS", 1)
    drawn = across_groups(noise(9), tasks, seeds)
    assert exact is not None
    assert drawn is not None
    assert drawn.difference_p == pytest.approx(exact.difference_p, abs=0.04)


def test_a_seed_without_some_task_moves_its_own_tasks_alone() -> None:
    """Seed 2 has one task of two, so that names matter: seeds 0 and 1 have two deals each."""
    ranks, tasks, seeds = noise(5), ["a", "b", "a", "b", "a"], [0, 0, 1, 1, 2]
    found = across_groups(ranks, tasks, seeds)
    assert found is not None
    deals = [[*first, *second, "a"] for first, second in product(permutations("ab"), repeat=2)]
    differences = np.array([np.subtract(*by_hand(ranks, deal, seeds)) for deal in deals])
    assert found.difference_p == pytest.approx(np.mean(differences >= found.difference - 1e-9))


def test_seeds_of_equal_ranks_are_not_counted_as_agreeing(make: Callable[..., RunRecord]) -> None:
    records = []
    for seed, own in enumerate([[1, 2, 3, 4, 9], [1, 2, 4, 3, 9], [4] * 5, [4] * 5]):
        record = make("rte", "adalora", seed, 0.7)
        layers = [LayerRank(f"{n}.query", n, "query", rank) for n, rank in enumerate(own)]
        record.ranks = layers[::-1] if seed else layers  # the order in the record does not matter
        records.append(record)
    table = rank_agreement(prepare(records).tables)
    assert table is not None
    assert table.rows[0][1:3] == (
        "2 of 4",
        f"{stats.pearsonr([1, 2, 3, 4, 9], [1, 2, 4, 3, 9]).statistic:.2f}",
    )


def test_the_table_names_row_and_tasks(make: Callable[..., RunRecord]) -> None:
    ranks, records = noise(9), []
    places = [(task, seed) for seed in range(3) for task in ("rte", "mrpc", "cola")]
    for method, values in (("adalora", ranks), ("lora", [[4] * 12] * 9)):
        for (task, seed), own in zip(places, values, strict=True):
            record = make(task, method, seed, 0.7)
            record.ranks = [LayerRank(f"{n}.query", n, "query", rank) for n, rank in enumerate(own)]
            records.append(record)
    table = task_agreement(prepare(records).tables)
    assert table is not None
    (row,) = table.rows
    within, across = by_hand(ranks, *map(list, zip(*places, strict=True)))
    texts: list[Any] = [f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in (within, across)]
    assert "AdaLoRA" in row[0] or "adalora" in row[0]
    assert {name.partition(" (")[0] for name in row[1].split(", ")} == {"RTE", "MRPC", "CoLA"}
    assert row[2:5] == ("9", *texts)
    assert "Agreement of ranks across tasks" in report_stability(records)


def replace_rate(record: RunRecord, rate: float) -> RunRecord:
    method = {**record.config["method"], "learning_rate": rate}
    return replace(record, config={**record.config, "method": method}, config_id=f"{rate}")


def test_settings_of_one_method_are_told_from_chance(make: Callable[..., RunRecord]) -> None:
    """Two learning rates of one method on one task: within a row and across the two, against every deal by hand."""
    ranks, records = noise(12, seed=2), []
    places = [(rate, seed) for seed in range(6) for rate in (1e-3, 3e-3)]
    for method, values in (("adalora", ranks), ("lora", [[4] * 12] * 12)):
        for (rate, seed), own in zip(places, values, strict=True):
            record = make("rte", method, seed, 0.7)
            record.ranks = [LayerRank(f"{n}.query", n, "query", rank) for n, rank in enumerate(own)]
            records.append(replace_rate(record, rate))
    again = [
        replace_rate(record, 5e-3) for record in records if record.config_id == "0.001"
    ]  # one search, two trainings
    table = settings_agreement(prepare([*records, *again]).tables)
    assert table is not None
    (row,) = table.rows
    names, seeds = [str(rate) for rate, _ in places], [seed for _, seed in places]
    within, across = by_hand(ranks, names, seeds)
    deals = product(*(permutations(["0.001", "0.003"]) for _ in range(6)))
    differences = [np.subtract(*by_hand(ranks, [*sum(deal, ())], seeds)) for deal in deals]
    shown = [
        f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
        for value in (within, across, np.subtract(within, across))
    ]
    assert row[1].count("learning_rate") == 2
    assert [row[2], row[3], row[4], row[6]] == ["12", *shown]
    assert float(row[7]) == pytest.approx(np.mean(np.array(differences) >= within - across - 1e-9), abs=6e-4)
    assert "Agreement of ranks across settings" in report_stability(records)
    assert settings_agreement(prepare(records[::2]).tables) is None  # one rate
