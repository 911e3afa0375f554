"""The arena: rates are chosen blindly, regret and intervals by closed forms, and every format shows it."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import config_id, experiment_identity
from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import Evaluation, LayerRank, PhaseRecord, RunRecord, Status
from autolora_bench.report.arena import Arena, arenas_of, chosen, regret
from autolora_bench.report.arena_tables import arena_csv, arena_tables
from autolora_bench.report.build import report_stability
from autolora_bench.report.charts import arena_chart
from autolora_bench.report.figures.arena import arena_figures
from autolora_bench.report.runs import runs_of
from autolora_bench.report.verdict import arena_card
from tests.report.conftest import report, write_report

TRUTH = {f"blocks.{i}.dense": rank for i, rank in enumerate((0, 0, 2, 3, 4, 15))}
RANKS = {
    "oracle": list(TRUTH.values()),
    "lora_uniform": [4] * 6,
    "lora_random_ranks": [9, 3, 1, 5, 2, 4],
    "autolora_topk": [0, 1, 3, 2, 4, 14],
    "autolora": [5, 3, 4, 4, 3, 5],
}
ERRORS = {
    "oracle": 0.1,
    "lora_uniform": 0.5,
    "lora_random_ranks": 0.54,
    "autolora_topk": 0.2,
    "autolora": 0.5,
}
CPU = {"autolora_topk": 12.0, "autolora": 10.0}


class Planted:
    """Makes planned runs and their records; a configuration is composed once."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, ...], Any] = {}

    def plan(self, method: str, seed: int = 0, rate: float = 0.01, *words: str) -> PlannedRun:
        said = (f"method={method}", f"method.learning_rate={rate:g}", *words)
        if (*said, str(seed)) not in self.known:
            with composer():
                config = compose_config(["task=planted", "model=small", *said, f"seed={seed}"])
            self.known[*said, str(seed)] = to_experiment(config)
        return PlannedRun(
            self.known[*said, str(seed)], ("task=planted", "model=small", *said, f"seed={seed}")
        )

    def record(
        self,
        method: str,
        seed: int = 0,
        rate: float = 0.01,
        *words: str,
        validation: float | None = None,
        test: float | None = None,
        ranks: list[int] | None = None,
        truth: dict[str, int] = TRUTH,
        device: str = "AMD",
    ) -> RunRecord:
        run = self.plan(method, seed, rate, *words)
        found = ranks or RANKS[method]
        error = ERRORS[method] if test is None else test
        constant = len(set(truth.values())) == 1 or len(set(found)) == 1
        correlation = np.nan if constant else float(spearmanr(list(truth.values()), found).statistic)
        scores: dict[str, float | None] = {
            "relative_error": error,
            "rank_correlation": None if np.isnan(correlation) else correlation,
        }
        chosen_by = {"relative_error": error if validation is None else validation}
        moment = {"validation": Evaluation("finetune", "validation", 3.0, 400, dict(chosen_by), 512)}
        cpu = CPU.get(method, 4.0)
        return RunRecord(
            task="planted", model="small", method=method, config_id=config_id(run.experiment), seed=seed,
            status=Status.completed, config=experiment_identity(run.experiment), command=run.command,
            headline="relative_error", metrics={"relative_error": False, "rank_correlation": True},
            phases=[PhaseRecord("finetune", Status.completed, cpu + 1, cpu, steps=400, train_cpu_seconds=cpu)],
            best=moment, last=moment, test={"test": Evaluation("evaluate", "test", 0.0, 0, scores, 512)},
            ranks=[LayerRank(name, i, "dense", r) for i, (name, r) in enumerate(zip(truth, found, strict=True))],
            data={"plant": {"seed": seed, "truth": dict(truth)}},
            provenance={"processor": device, "threads": 1, "cores": 2, "device": "cpu"},
        )  # fmt: skip


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


def arena(records: list[RunRecord]) -> Arena:
    (found,) = arenas_of(runs_of(records, None)[0])
    return found


def line(found: Arena, method: str) -> pd.Series:
    return found.rows.set_index("method").loc[method]


def test_the_rate_is_chosen_by_validation_where_test_and_truth_say_otherwise(planted: Planted) -> None:
    records = [
        planted.record("autolora_topk", 0, 0.003, validation=0.3, test=0.1, ranks=list(TRUTH.values())),
        planted.record("autolora_topk", 0, 0.01, validation=0.2, test=0.4),
        planted.record("autolora_topk", 0, 0.03, validation=0.25, test=0.05, ranks=list(TRUTH.values())),
    ]
    found = line(arena(records), "autolora_topk")
    assert found["error"] == 0.4
    assert found["rates"] == {0.01: 1}
    assert found["rank_correlation"] == pytest.approx(
        spearmanr(list(TRUTH.values()), RANKS["autolora_topk"])[0]
    )
    assert len(arena(records).rows) == 1, "rates are one row"


def test_a_try_without_a_validation_error_is_never_chosen_and_equal_ones_give_the_lowest_rate() -> None:
    tries = pd.DataFrame(
        [(0, 0, 0, 0.03, 0.2), (0, 0, 0, 0.01, 0.2), (0, 0, 0, 0.1, None), (0, 1, 1, 0.03, None)],
        columns=["row", "plant", "seed", "rate", "validation"],
    )
    assert chosen(tries)[["plant", "rate"]].to_numpy().tolist() == [[0, 0.01]]


def test_the_choice_is_the_same_whatever_test_and_truth_are(planted: Planted) -> None:
    rates = {0.003: 0.3, 0.01: 0.2, 0.03: 0.25}
    for tests in ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1), (0.2, 0.9, 0.1)):
        records = [
            planted.record("adalora", 0, rate, validation=error, test=test, ranks=[4] * 6)
            for (rate, error), test in zip(rates.items(), tests, strict=True)
        ]
        assert line(arena(records), "adalora")["rates"] == {0.01: 1}


def test_regret_is_zero_for_the_oracle_one_for_uniform_and_between_by_its_formula(planted: Planted) -> None:
    found = arena([planted.record(method) for method in RANKS])
    assert line(found, "oracle")["regret"] == 0.0
    assert line(found, "lora_uniform")["regret"] == 1.0
    assert line(found, "autolora_topk")["regret"] == pytest.approx((0.2 - 0.1) / (0.5 - 0.1))
    assert line(found, "lora_random_ranks")["regret"] == pytest.approx((0.54 - 0.1) / (0.5 - 0.1))
    assert line(found, "autolora_topk")["cost"] == pytest.approx(3.0)
    assert np.isnan(line(found, "lora_uniform")["rank_correlation"])
    assert found.rows["method"].tolist()[:2] == ["oracle", "autolora_topk"]


def test_costs_of_two_machines_are_never_divided(planted: Planted) -> None:
    records = [planted.record("lora_uniform", device="AMD"), planted.record("autolora", device="Intel")]
    assert np.isnan(line(arena(records), "autolora")["cost"])
    other = planted.record("lora_uniform", 1, 0.01, "task.plant_seed=0", device="Intel")  # another start
    assert np.isnan(line(arena([*records, other]), "autolora")["cost"])


def test_rows_without_a_cost_are_told_and_why(planted: Planted) -> None:
    records = [
        planted.record(method, seed) for method in ("lora_uniform", "oracle", "autolora") for seed in (0, 1)
    ]
    for record in records:
        record.provenance["ways"] = {"cpu_kernels": record.method != "autolora", "padding_free": False}
    (note,) = [n for n in arena_tables([arena(records)])[0].notes if n.startswith("No cost")]
    assert note == (
        "No cost: AutoLoRA, as their runs and those of Uniform ranks were made with and without cpu_kernels "
        "(train=reference computes all alike)."
    )
    records[-1].provenance["ways"]["cpu_kernels"] = (
        True  # one plant of two is enough for a mean, which `_fewer` tells
    )
    assert not any(n.startswith("No cost") for n in arena_tables([arena(records)])[0].notes)


def test_settings_that_tell_rows_apart_and_no_title_says_are_told(planted: Planted) -> None:
    records = [
        planted.record("autolora", 0, 0.01, f"method.scaling={one}")
        for one in ("constant", "alpha_over_rank")
    ]
    records += [planted.record("lora_uniform")]
    (table, *_) = arena_tables([arena(records)])
    assert {row[0] for row in table.rows} == {
        "AutoLoRA",
        "AutoLoRA, constant scaling",
        "Uniform ranks",
    }
    assert "Settings that tell rows apart. AutoLoRA: scaling=alpha_over_rank." in table.notes


def test_a_plant_where_the_oracle_does_not_beat_uniform_is_named_and_left_out(planted: Planted) -> None:
    records = [
        planted.record(method, seed, test=0.49 if method == "oracle" and seed == 1 else None)
        for method in ("oracle", "lora_uniform", "autolora_topk")
        for seed in (0, 1)
    ]
    found = arena(records)
    assert found.unclear == (1,)
    assert line(found, "autolora_topk")["regret"] == pytest.approx(0.25), "of plant 0 alone"
    assert line(found, "autolora_topk")["plants"] == 2
    assert any(
        "not clearly beat uniform ranks on plants 1" in note for note in arena_tables([found])[0].notes
    )


def test_a_regret_is_told_with_the_plants_that_it_is_over(planted: Planted) -> None:
    """Of plants 0 and 1 the oracle is clear on plant 0 alone, where topk has .25."""
    records = [
        planted.record(method, seed, test=0.49 if method == "oracle" and seed else None)
        for method in ("oracle", "lora_uniform", "autolora_topk")
        for seed in (0, 1)
    ]
    found = arena(records)
    chart, (drawn,) = arena_chart([found]), [one for one in arena_figures([found]) if "regret" in one.name]
    assert chart is not None
    assert [point["said"] for point in chart.data["points"]] == [
        f"{score}, 1 of 2 plants" for score in ("0.00", "0.25", "1.00")
    ]
    assert "AutoLoRA, smooth top-k 0.25 on 1 of 2 plants" in drawn.alt
    card = arena_card(found)
    assert card.badges[0].says == "2 plants, regret on 1"
    assert "AutoLoRA, smooth top-k (0.25, 1 of 2 plants)" in card.sentence
    assert {row[-1] for row in arena_tables([found])[0].rows} == {"2 (regret: 1)"}
    told = pd.read_csv(io.StringIO(arena_csv([found])))
    assert told[["plants", "regret_plants"]].to_numpy().tolist() == [[2, 1]] * 3
    unclear = arena([one for one in records if one.seed])
    assert "does not clearly beat uniform ranks on any plant" in arena_card(unclear).sentence


def test_a_regret_over_every_plant_is_told_with_their_number_alone(planted: Planted) -> None:
    found = arena([planted.record(method, seed) for method in ("oracle", "lora_uniform") for seed in (0, 1)])
    chart = arena_chart([found])
    assert chart is not None
    assert [point["said"] for point in chart.data["points"]] == ["0.00, 2 plants", "1.00, 2 plants"]
    assert arena_card(found).badges[0].says == "2 plants"
    assert {row[-1] for row in arena_tables([found])[0].rows} == {"2"}
    assert "regret_plants" not in arena_csv([found])


def test_regret_without_a_clear_oracle_is_not_defined() -> None:
    errors = {"oracle": [0.1, 0.46, 0.7], "uniform": [0.5, 0.5, 0.5], "own": [0.3, 0.3, 0.3]}
    own, oracle, uniform = (pd.Series(errors[name]) for name in ("own", "oracle", "uniform"))
    assert regret(own, oracle, uniform).isna().tolist() == [False, True, True]
    assert regret(own, oracle, uniform)[0] == pytest.approx(0.5)


def test_a_null_plant_has_no_correlation_no_regret_and_says_so(planted: Planted) -> None:
    flat = dict.fromkeys(TRUTH, 4)
    records = [
        planted.record(method, seed, 0.01, "task.truth=uniform", truth=flat, test=0.5, ranks=RANKS[method])
        for method in ("lora_uniform", "lora_random_ranks", "autolora_topk")
        for seed in (0, 1)
    ]
    records += [
        planted.record("oracle", seed, 0.01, "task.truth=uniform", truth=flat, test=0.5, ranks=[4] * 6)
        for seed in (0, 1)
    ]
    found = arena(records)
    assert not found.ordered
    assert found.rows[["rank_correlation", "regret"]].isna().all(axis=None)
    assert found.unclear == (0, 1)
    notes = " ".join(arena_tables([found])[0].notes)
    assert "The truth prefers no layer" in notes
    assert "does not clearly beat uniform ranks on plants 0, 1" in notes


def test_starts_of_one_plant_agree_as_their_ranks_do_and_the_best_tried_start_counts(
    planted: Planted,
) -> None:
    other = [1, 0, 2, 4, 3, 14]
    records = [
        planted.record("autolora_topk", 0, 0.003, validation=0.9),
        planted.record("autolora_topk", 0, 0.01, validation=0.2, test=0.2),
        planted.record("autolora_topk", 3, 0.01, "task.plant_seed=0", test=0.8, ranks=other),
    ]
    found = arena(records)
    own = line(found, "autolora_topk")
    assert own["agreement"] == pytest.approx(spearmanr(RANKS["autolora_topk"], other).statistic)
    assert own["plants"] == 1
    assert own["error"] == 0.2, "seed 3 was not tried with the whole grid"


def test_modes_settings_and_variants_of_a_method_are_not_mixed(planted: Planted) -> None:
    records = [planted.record("autolora_topk", 0, 0.01, f"task.mode={mode}") for mode in ("equal", "size")]
    records.append(planted.record("autolora_topk", 0, 0.01, "task.change=0.7"))
    records.append(planted.record("autolora_topk", 0, 0.01, "method.search.components=16"))
    arenas = arenas_of(runs_of(records, None)[0])
    assert [one.mode for one in arenas] == ["equal", "size", "equal"]
    assert ["change=0.7" in one.title for one in arenas] == [False, False, True]
    assert sorted(arenas[0].rows["title"]) == [
        "AutoLoRA, smooth top-k, search.components=16",
        "AutoLoRA, smooth top-k, search.components=8",
    ]


def test_missing_runs_and_unequal_grids_are_told(planted: Planted) -> None:
    made = [planted.record("oracle", 0, rate) for rate in (0.003, 0.01)] + [planted.record("autolora")]
    planned = [planted.plan("oracle", 0, rate) for rate in (0.003, 0.01)] + [planted.plan("autolora")]
    text = report(made, [*planned, planted.plan("autolora", 0, 0.003)])
    assert "AutoLoRA was tried with the learning rates 0.01 alone, others with 0.003, 0.01" in text
    assert "Not completed: AutoLoRA on planted: missing (seed 0)" in text
    assert "method.learning_rate=0.003 seed=0" in text


def test_every_format_leads_with_the_arena_and_shows_no_second_table_of_its_scores(
    planted: Planted, make: Callable[..., RunRecord]
) -> None:
    records = [make("rte", "lora", seed, 0.8) for seed in range(3)]
    records += [planted.record(method, seed) for method in RANKS for seed in range(6)]
    texts = {name: report(records, format=name) for name in ("markdown", "latex", "csv", "html")}
    for name, text in texts.items():
        place = text.index("AutoLoRA, smooth top")
        assert place < text.rindex("RTE" if name != "csv" else ",rte,"), name
        assert text.count("lora_random_ranks" if name == "csv" else "Random ranks") <= 4
    assert "planted                 ··▁▂▂█  0 0 2 3 4 15" in texts["markdown"]
    assert "[0.25, 0.25]" in texts["markdown"], "an interval over six plants"
    assert r"\rule{.5em}{1.0em}" in texts["latex"]
    assert (
        "?"
        not in texts["latex"]
        .split(r"\caption{Planted ranks, equal, small: true", 1)[1]
        .split(r"\end{table}")[0]
    )


def test_a_folder_holds_the_arena_in_every_format_byte_for_byte(planted: Planted, tmp_path: Path) -> None:
    records = [planted.record(method, seed) for method in RANKS for seed in range(2)]
    first, second = (
        {path.name: path.read_bytes() for path in write_report(tmp_path / name, given)}
        for name, given in (("a", records), ("b", records))
    )
    assert first == second
    assert {"report.html", "arena.md", "arena.csv", "arena.tex", "arena.json"} <= set(first)
    assert {"arena-ranks-small-equal.svg", "arena-regret-small.svg"} <= set(first)
    assert "scores.csv" not in first
    told = pd.read_csv(tmp_path / "a" / "arena.csv").set_index("method")
    assert told.loc["autolora_topk", "regret"] == pytest.approx(0.25)
    assert json.loads(first["arena.json"])[0]["rows"][0]["method"] == "True ranks"


def test_nothing_completed_is_an_empty_table_with_its_command(planted: Planted) -> None:
    text = report([], [planted.plan("oracle")])
    assert "No run is completed" in text
    assert "Not completed: True ranks on planted: missing (seed 0)" in text
    assert arena_csv(arenas_of(runs_of([], [planted.plan("oracle")])[0])).startswith("model,mode,setting")


def test_the_stability_of_searches_still_reads_planted_runs(planted: Planted) -> None:
    with pytest.raises(UserError, match="no two seeds of a method that gives layers different ranks"):
        report_stability([planted.record("autolora_topk")])


def test_a_drawing_names_the_rows_that_were_run_on_fewer_plants(planted: Planted) -> None:
    records = [planted.record(method, seed) for method in ("oracle", "lora_uniform") for seed in range(5)]
    records.append(planted.record("autolora"))
    said = "means over 5 plants (of fewer: AutoLoRA: 1)"
    assert f"{said}. A dot" in report(records)
    assert f"in the order of the planted ranks; {said}</caption>" in report(records, format="html")
    assert "planted ranks; plant 0</caption>" in report([*records[::5], records[-1]], format="html")


def controls(planted: Planted, *words: str, scale: float = 1.0) -> list[RunRecord]:
    """True ranks, uniform ones and the search, whose regret is .25."""
    return [
        planted.record(method, 0, 0.01, *words, test=scale * ERRORS[method])
        for method in ("oracle", "lora_uniform", "autolora_topk")
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [("train.max_steps=400", "train.max_steps=1600"), ("model.random.seed=0", "model.random.seed=1")],
)
def test_another_training_or_network_is_another_arena_with_its_own_controls(
    planted: Planted, first: str, second: str
) -> None:
    records = controls(planted, first) + controls(planted, second, scale=0.2)
    found = arenas_of(runs_of(records, None)[0])
    assert [one.setting for one in found] == [first, second]
    for one in found:
        assert line(one, "autolora_topk")["regret"] == pytest.approx(0.25)
        assert line(one, "lora_uniform")["regret"] == pytest.approx(1.0)


def diverged(record: RunRecord) -> RunRecord:
    record.status, record.best, record.last, record.test = Status.failed, {}, {}, {}
    record.error = {"type": "DivergenceError", "message": "", "mend": "", "traceback": ""}
    return record


def test_a_start_of_which_a_rate_diverged_counts_with_the_others(planted: Planted) -> None:
    """Leaving it out would select the starts that train well."""
    records = [planted.record(method, 0, 0.01, "task.plant_seed=0") for method in ("oracle", "lora_uniform")]
    for seed, error in ((0, 0.45), (1, 0.15)):
        for rate in (0.003, 0.01, 0.03):
            made = planted.record(
                "autolora_topk", seed, rate, "task.plant_seed=0", test=error, validation=error + rate
            )
            records.append(diverged(made) if (seed, rate) == (0, 0.03) else made)
    row = line(found := arena(records), "autolora_topk")
    assert (row["error"], row["regret"]) == (pytest.approx(0.3), pytest.approx(0.5))
    assert row["rates"] == {0.003: 2}
    assert found.grids["AutoLoRA, smooth top-k"] == (0.003, 0.01, 0.03)


def test_a_plant_on_which_a_start_diverged_at_every_rate_has_no_mean(planted: Planted) -> None:
    records = [planted.record(method, 0, 0.01, "task.plant_seed=0") for method in ("oracle", "lora_uniform")]
    records += [planted.record("autolora_topk", 0, 0.01, "task.plant_seed=0")]
    records += [diverged(planted.record("autolora_topk", 1, 0.01, "task.plant_seed=0"))]
    row = line(arena(records), "autolora_topk")
    assert (row["plants"], bool(np.isnan(row["error"])), bool(np.isnan(row["regret"]))) == (0, True, True)


def test_means_over_fewer_plants_and_other_plants_are_told(planted: Planted) -> None:
    records = [planted.record("oracle", 0), planted.record("autolora", 7)]
    for seed in range(3):
        records.append(planted.record("lora_uniform", seed))
        records.append(
            planted.record("autolora_topk", seed, ranks=RANKS["autolora_topk"] if seed == 0 else [4] * 6)
        )
    notes = " ".join(arena_tables([arena(records)])[0].notes)
    assert "AutoLoRA, smooth top-k (rank correlation 1 of 3, regret 1 of 3)" in notes
    assert "Not run on the same plants: " in notes
    assert "AutoLoRA on plant 7" in notes


def test_rates_that_differ_from_plant_to_plant_are_told(planted: Planted) -> None:
    records = [planted.record("lora_uniform", seed, rate) for seed in (0, 1) for rate in (0.003, 0.01)]
    records += [planted.record("autolora_topk", seed, rate) for seed, rate in ((0, 0.003), (1, 0.01))]
    found = arena(records)
    assert found.uneven == ("AutoLoRA, smooth top-k",)
    assert any("Not tried with the same learning rates" in note for note in arena_tables([found])[0].notes)


def test_a_search_rate_that_is_held_is_one_row(planted: Planted) -> None:
    """The run in which both rates are .01 belongs to it too."""
    held = "method.search.learning_rate=0.01"
    errors = {0.003: 0.3, 0.01: 0.4, 0.03: 0.2}
    records = [planted.record("autolora_topk", 0, rate, held, test=error) for rate, error in errors.items()]
    found = arena(records)
    assert (len(found.rows), line(found, "autolora_topk")["error"]) == (1, 0.2)
    assert next(iter(found.grids.values())) == (0.003, 0.01, 0.03)
    records += [
        planted.record("autolora_topk", 0, rate, test=error / 2)
        for rate, error in errors.items()
        if rate != 0.01
    ]
    both = arena(records)
    assert sorted(both.rows["error"]) == [0.1, 0.2]
    assert set(both.grids.values()) == {(0.003, 0.01, 0.03)}


def test_a_completed_run_without_a_validation_score_is_a_row_without_numbers(planted: Planted) -> None:
    made = planted.record("autolora")
    made.best = made.last = {
        "validation": Evaluation("finetune", "validation", 3.0, 400, {"relative_error": None}, 512)
    }
    row = line(found := arena([made, *controls(planted)]), "autolora")
    assert (row["plants"], bool(np.isnan(row["error"]))) == (0, True)
    assert not any("No run is completed" in note for note in arena_tables([found])[0].notes)


def test_an_allocator_of_which_every_rate_diverged_is_a_row_that_says_so(planted: Planted) -> None:
    found = arena([*controls(planted)[:2], diverged(planted.record("autolora_topk"))])
    assert line(found, "autolora_topk")["plants"] == 0
    assert any("every rate diverged" in note for note in arena_tables([found])[0].notes)
