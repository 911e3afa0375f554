"""Places, ties and chance against independent counts."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from autolora_bench.record import RunRecord
from autolora_bench.report.chance import chances_of
from autolora_bench.report.frames import frames_of
from autolora_bench.report.runs import runs_of
from autolora_bench.report.scoreboard import Table
from autolora_bench.report.standings import main_column, shown_columns, standings_of
from autolora_bench.report.tables import tables_of

Make = Callable[..., RunRecord]


def table(records: list[RunRecord], compare: tuple[str, ...] = ()) -> Table:
    frames = frames_of(runs_of(records, None)[0])
    (found,) = tables_of(frames, epoch="best", metrics="paper", title="T", compare=compare or ("no:such",))
    return found


@pytest.fixture
def three(make: Make) -> list[RunRecord]:
    """Eight seeds of three methods; the last is far behind."""
    noise = np.random.default_rng(3)
    return [
        make("rte", method, seed, round(float(score + noise.normal(0, 0.004)), 4))
        for method, score in (("lora", 0.75), ("adalora", 0.751), ("full", 0.6))
        for seed in range(8)
    ]


def test_pairs_have_scipys_exact_p_after_holm(three: list[RunRecord]) -> None:
    shown = table(three, ("autolora:lora",))
    column = main_column(shown)
    assert column
    standing = standings_of(shown, column)
    raw = {}
    for pair in standing.pairs:
        sides = [shown.rows[n].cells[column].scores for n in (pair.first, pair.second)]
        differences = np.array([sides[0][seed] - sides[1][seed] for seed in range(8)])
        exact = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
        raw[pair] = exact.pvalue
        assert pair.mean == pytest.approx(differences.mean())
    for pair, p in raw.items():
        larger = sorted(raw.values())
        steps = [(len(larger) - n) * value for n, value in enumerate(larger) if value <= p]
        assert pair.adjusted == pytest.approx(min(1.0, max(steps)))


def test_ties_share_places_and_the_separated_row_has_one(three: list[RunRecord]) -> None:
    shown = table(three)
    column = main_column(shown)
    assert column
    standing = standings_of(shown, column)
    labels = [row.label for row in shown.rows]
    places = {labels[row]: standing.places(row) for row in standing.order}
    assert places == {"LoRA": (1, 2), "AdaLoRA": (1, 2), "Full fine-tuning": (3, 3)}
    assert [labels[row] for row in standing.ties(standing.order[0])] == [labels[standing.order[1]]]
    assert standing.ties(standing.order[2]) == []


def test_the_declared_family_keeps_its_answer(three: list[RunRecord]) -> None:
    shown = table(three, ("lora:full",))
    column = main_column(shown)
    assert column
    (claim,) = shown.claims
    known = {pair.claimed: pair for pair in standings_of(shown, column).pairs if pair.claimed}
    assert known[True].adjusted == claim.adjusted
    assert known[True].adjusted == pytest.approx(2 / 2**8)


def test_lower_is_better_turns_order_and_sign(make: Make) -> None:
    records = [
        make("webnlg", method, seed, {"bleu": 0.4, "meteor": 0.4, "ter": ter + seed / 1000})
        for method, ter in (("lora", 0.5), ("full", 0.4))
        for seed in range(6)
    ]
    shown = table(records)
    column = next(column for column in shown.columns if column.score == "ter")
    standing = standings_of(shown, column)
    assert [shown.rows[row].label for row in standing.order] == ["Full fine-tuning", "LoRA"]
    (pair,) = standing.pairs
    assert (shown.rows[pair.first].label, pair.mean > 0) == ("Full fine-tuning", True)


def test_few_seeds_leave_every_place_open(make: Make) -> None:
    records = [
        make("rte", method, seed, score)
        for method, score in (("lora", 0.9), ("full", 0.1))
        for seed in (0, 1)
    ]
    shown = table(records)
    column = main_column(shown)
    assert column
    standing = standings_of(shown, column)
    assert not standing.tested
    assert {standing.places(row) for row in standing.order} == {(1, 2)}


def test_what_is_declared_of_one_epoch_says_nothing_of_the_other(make: Make) -> None:
    records = [
        make(task, method, seed, 0.7 + 0.01 * seed + (0.02 if method == "autolora" else 0.0))
        for task in ("rte", "mrpc", "cola", "mnli")
        for method in ("lora", "autolora")
        for seed in range(2)
    ]
    frames = frames_of(runs_of(records, None)[0])
    (shown,) = tables_of(frames, epoch="both", metrics="paper", title="T", compare=("autolora:lora",))
    declared = {
        column.epoch: standings_of(shown, column).pairs[0].claimed
        for column in shown.columns
        if column.is_average
    }
    assert sorted(declared.values()) == [False, True]
    (claim,) = shown.claims
    assert declared[claim.columns[0].epoch]


def test_shuffled_labels_are_no_task_to_average_or_compare_over(make: Make) -> None:
    records = [
        make(task, method, seed, 0.7 + 0.001 * seed + (0.02 if method == "full" else 0.0))
        for task in ("rte", "mrpc", "cola")
        for method in ("lora", "full")
        for seed in range(2)
    ]
    for record in records[-4:]:
        record.config = {**record.config, "data": {**record.config["data"], "shuffle_labels": True}}
    shown = table(records, ("full:lora",))
    assert [column.task for column in shown.columns if column.shuffled] == ["cola"]
    (claim,) = shown.claims
    assert {column.task for column in claim.columns} == {"rte", "mrpc"}
    average = next(column for column in shown.columns if column.is_average)
    expected = np.mean(
        [row.mean for column, row in shown.rows[0].cells.items() if column.task in ("rte", "mrpc")]
    )
    assert shown.rows[0].cells[average].mean == pytest.approx(expected)
    alone = table(records[-4:], ("full:lora",))
    assert {column.task for column in alone.claims[0].columns} == {"cola"}


def test_the_average_leads_where_rows_have_one(make: Make) -> None:
    records = [make(task, method, 0, 0.7) for task in ("rte", "cola") for method in ("lora", "full")]
    shown = table(records)
    column = main_column(shown)
    assert column
    assert column.is_average
    assert [c.task for c in shown_columns(shown)] == ["average", "rte", "cola"]
    alone = table(records[:3])
    column = main_column(alone)
    assert column
    assert column.task == "rte"


@pytest.mark.parametrize(("task", "level"), [("rte", 50.0), ("mnli", 100 / 3), ("cola", 0.0)])
def test_chance_is_the_even_guess_and_its_limit_the_binomials(make: Make, task: str, level: float) -> None:
    shown = table([make(task, "lora", 0, 0.9)])
    column = next(column for column in shown.columns if column.headline)
    chance = chances_of(shown)[column]
    assert chance.level == pytest.approx(level)
    assert chance.examples == 100
    exact = stats.binom.ppf(0.95, 100, level / 100) if level else 100 * np.quantile(_guessed(100), 0.95)
    assert chance.limit == pytest.approx(exact, abs=1.5)
    assert chance.holds(level)
    assert not chance.holds(chance.limit + 0.01)
    assert not chance.holds(None)


def test_where_one_label_is_frequent_always_saying_it_is_chance(make: Make) -> None:
    """MRPC: 279 of 408 pairs are paraphrases; who always says so scores 68.38, far above an even guess."""
    made = make("rte", "lora", 0, 279 / 408)
    for evaluation in (*made.best.values(), *made.last.values()):
        evaluation.examples, evaluation.largest_class = 408, 279 / 408
    shown = table([made])
    column = next(column for column in shown.columns if column.headline)
    chance = chances_of(shown)[column]
    assert chance.level == pytest.approx(100 * 279 / 408)
    assert chance.limit == pytest.approx(100 * stats.binom.ppf(0.95, 408, 279 / 408) / 408, abs=0.3)
    assert chance.holds(100 * 279 / 408)
    assert chance.holds(69.6)


def _guessed(examples: int) -> np.ndarray:
    """Matthews correlations of guesses."""
    draws = np.random.default_rng(0).integers(0, 2, size=(4000, 2, examples))
    return np.array([np.corrcoef(pair)[0, 1] for pair in draws])


def test_a_metric_without_a_known_guess_has_no_chance_level(make: Make) -> None:
    shown = table([make("webnlg", "lora", 0, 0.4)])
    assert chances_of(shown) == {}


def test_an_average_has_no_pair_where_a_task_has_no_shared_seeds(make: Make) -> None:
    """Its place would be that of the tasks that are left, beside a mean over all."""
    ahead = [
        make("rte", method, seed, 0.8 + 0.01 * (method == "adalora"))
        for method in ("adalora", "lora")
        for seed in range(8)
    ]
    behind = [make("mrpc", "adalora", seed, 0.6) for seed in range(8)]
    others = [make("mrpc", "lora", seed, 0.9) for seed in range(8, 16)]
    shown = table([*ahead, *behind, *others], ("adalora:lora",))
    (average,) = (column for column in shown.columns if column.is_average)
    assert standings_of(shown, average).pairs == ()
    (alone,) = (column for column in shown.columns if column.headline and column.task == "rte")
    (pair,) = standings_of(shown, alone).pairs
    assert pair.separated
