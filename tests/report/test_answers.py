"""What a report says first of methods that were tuned alike, on records whose answer is known by construction."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from autolora_bench.errors import UserError
from autolora_bench.record import Evaluation, LayerRank, PhaseRecord, RunRecord, Status
from autolora_bench.report import numerals
from autolora_bench.report.prepared import Report, prepare
from autolora_bench.report.significance import smallest_separable
from autolora_bench.report.standings import standings_of
from autolora_bench.report.tuning import tuning_table
from autolora_bench.report.verdict import card_of

METRICS = {
    "stsb": ["spearman", "pearson"],
    "mrpc": ["accuracy", "f1"],
    "cola": ["matthews_correlation", "accuracy"],
}
GRID = (3e-4, 1e-3, 3e-3)


def record(
    task: str,
    method: str,
    rate: float,
    seed: int,
    score: float | None,
    *,
    held: bool = False,
    train: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    diverged: bool = False,
    **settings: Any,
) -> RunRecord:
    """A run of 100 s of steps and 120 s in all."""
    split = "held_out" if held else "validation"
    config = {
        "task": {"name": task, "metrics": METRICS[task], "evaluation": [split], "test": []},
        "model": {"name": "minilm"},
        "data": {"source": "local"} | ({"held_out": 0.1} if held else {}),
        "method": {"name": method, "learning_rate": rate, **settings},
        "train": {"keep": "last", "head_learning_rate": 1e-3} | (train or {}),
    }
    identity = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
    status = Status.failed if diverged else Status.completed
    made = RunRecord(task, "minilm", method, identity, seed, status, config, "autolora-bench")
    made.headline, made.metrics = METRICS[task][0], dict.fromkeys(METRICS[task], True)
    made.provenance = {"processor": "CPU A", "device": "cpu", "threads": 1, "cores": 2} | (provenance or {})
    if diverged:
        made.error = {"type": "DivergenceError", "message": "", "mend": "", "traceback": ""}
        made.phases = [PhaseRecord("finetune", Status.failed, seconds=120.0)]
    else:
        evaluation = Evaluation("finetune", split, 3.0, 10, {METRICS[task][0]: score}, 401)
        made.last = made.best = {split: evaluation}
        made.phases = [
            PhaseRecord("finetune", Status.completed, 120.0, 100.0, steps=10, train_cpu_seconds=90.0)
        ]
    return made


def tuned(task: str, method: str, best: float = 1e-3, base: float = 0.8, **more: Any) -> list[RunRecord]:
    """Tuning runs whose best rate is `best`."""
    return [
        record(task, method, rate, 1000, base - 0.02 * abs(math.log(rate / best)), held=True, **more)
        for rate in GRID
    ]


def finals(
    task: str, method: str, scores: Sequence[float | None], rate: float = 1e-3, **more: Any
) -> list[RunRecord]:
    """Final runs with seeds from 0."""
    return [record(task, method, rate, seed, score, **more) for seed, score in enumerate(scores)]


def told(records: Sequence[RunRecord], *compare: str) -> Report:
    return prepare(list(records), compare=list(compare))


def noise(count: int, seed: int = 0) -> list[float]:
    return [0.002 * value for value in np.random.default_rng(seed).standard_normal(count)]


@pytest.mark.parametrize("rates", [{1: 1e-3, 4: 1e-3, 16: 1e-3}, {1: 3e-3, 4: 1e-3, 16: 3e-4}])
def test_the_reference_among_several_ranks_is_the_one_that_is_shipped(rates: dict[int, float]) -> None:
    """Whatever rate each rank chose, and the answer names the rank."""
    made = tuned("stsb", "bitfit") + finals("stsb", "bitfit", [0.7227 + x for x in noise(8)])
    for rank, score in ((1, 0.7025), (4, 0.7425), (16, 0.7825)):
        made += tuned("stsb", "lora", rates[rank], rank=rank)
        made += finals("stsb", "lora", [score + x for x in noise(8, rank)], rates[rank], rank=rank)
    first = told(made, "bitfit:lora").remarks[0]
    assert first.startswith("Tuned alike on minilm, against LoRA, rank 4: BitFit \N{MINUS SIGN}")


def test_a_method_that_chose_another_rate_on_each_task_is_one_row() -> None:
    made = []
    for task, rate in (("stsb", 3e-4), ("mrpc", 1e-3), ("cola", 3e-3)):
        for rank, score in ((1, 0.70), (4, 0.74)):
            made += tuned(task, "lora", rate, rank=rank) + finals(
                task, "lora", [score, score], rate, rank=rank
            )
    (table,) = told(made).tables
    assert [row.label for row in table.rows] == ["LoRA, rank 1", "LoRA, rank 4"]
    assert all(row.is_rank for row in table.rows)


def test_what_was_not_tuned_is_another_row_and_never_called_tuned() -> None:
    made = tuned("stsb", "lora") + tuned("stsb", "bitfit")
    made += finals("stsb", "lora", [0.80 + x for x in noise(8)]) + finals(
        "stsb", "bitfit", [0.81 + x for x in noise(8, 1)]
    )
    alone = told(made, "bitfit:lora").remarks[0]
    untuned = finals("stsb", "lora", [0.60] * 9, 1e-4, train={"keep": "best"})
    report = told(made + untuned, "bitfit:lora")
    assert len([row for row in report.tables[0].rows if row.method == "lora"]) == 2
    answers = [line for line in report.remarks if line.startswith("Tuned alike")]
    assert all("+21" not in line for line in answers)
    assert "BitFit +0.97 (" in alone


def test_a_rate_that_tuning_did_not_choose_is_not_compared_and_warned_of() -> None:
    made = tuned("stsb", "lora", 3e-3) + tuned("stsb", "bitfit")
    made += finals("stsb", "lora", [0.7] * 6, 1e-3) + finals("stsb", "bitfit", [0.71 + x for x in noise(6)])
    report = told(made, "bitfit:lora")
    assert not any(line.startswith("Tuned alike") for line in report.remarks)
    assert (
        "WARNING not compared as tuned, the final runs do not have the rate that tuning found best: LoRA on stsb."
        in (report.remarks)
    )
    table = tuning_table(report.tuned)
    assert table is not None
    assert ("stsb, LoRA", "0.001 (not the best)") in [(row[0], row[4]) for row in table.rows]


def test_the_head_alone_is_one_cell_though_its_rate_stands_in_two_places() -> None:
    made = [
        record("mrpc", "head_only", r, 1000, s, held=True, train={"head_learning_rate": r})
        for r, s in zip(GRID, (0.68, 0.70, 0.69), strict=True)
    ]
    made += [
        record("mrpc", "head_only", 1e-3, seed, 0.7, train={"head_learning_rate": 1e-3}) for seed in range(5)
    ]
    (cell,) = told(made).tuned
    assert cell.trials == pytest.approx({3e-4: 68.0, 1e-3: 70.0, 3e-3: 69.0})
    assert (cell.chosen, cell.at_edge, cell.is_best) == (1e-3, False, True)
    assert cell.rate_names == ("method.learning_rate", "train.head_learning_rate")


def test_a_control_whose_source_has_the_rate_too_is_one_cell() -> None:
    made = [
        record("mrpc", "lora_shuffled_ranks", r, 1000, 0.7, held=True, cell=f"mrpc/minilm/autolora-{n}")
        for n, r in enumerate(GRID)
    ]
    made += [record("mrpc", "lora_shuffled_ranks", 1e-3, 0, 0.7, cell="mrpc/minilm/autolora-9")]
    (cell,) = told(made).tuned
    assert len(cell.trials) == 3


@pytest.mark.parametrize(("seeds", "found"), [(5, False), (9, False), (10, True)])
def test_where_no_scores_could_be_separated_none_is_called_not_separated(seeds: int, found: bool) -> None:
    """Fifteen comparisons on one task need ten seeds: 15 x 2 / 2^9 is above .05, and 15 x 2 / 2^10 below."""
    methods = [
        *(
            "full",
            "autolora",
            "autolora_topk",
            "lora_random_ranks",
            "adalora",
            "eva",
            "pissa",
            "dora",
            "rslora",
        ),
        *("lora_ga", "lora_pro", "adapter", "bitfit", "ia3", "head_only"),
    ]
    made = tuned("stsb", "lora") + finals("stsb", "lora", [0.7 + x for x in noise(seeds)])
    for number, method in enumerate(methods, 1):
        made += tuned("stsb", method) + finals("stsb", method, [0.75 + x for x in noise(seeds, number)])
    first = told(made, *(f"{method}:lora" for method in methods)).remarks[0]
    if found:
        assert "After correction for 15 comparisons separated from it: " in first
        assert first.count(" on STS-B Spearman") == 15
        assert first.count("would have found") == 15
    else:
        assert "Nothing could be separated here, whatever the scores: 15 comparisons need 10 seeds" in first
        assert "would have found" not in first
    assert smallest_separable(0.05 / 15) == 10


def test_what_is_separated_on_every_task_is_not_called_the_contrary_for_lack_of_tasks() -> None:
    made = []
    for task in METRICS:
        for number, (method, ahead) in enumerate((("lora", 0.0), ("full", 0.03))):
            made += tuned(task, method) + finals(task, method, [0.7 + ahead + x for x in noise(10, number)])
    first = told(made, "full:lora").remarks[0]
    assert "30 pairs on 3 tasks, too few tasks to find anything in their mean" in first
    assert "After correction for 3 comparisons separated from it: Full fine-tuning on " in first
    for where in ("CoLA Matthews", "MRPC accuracy", "STS-B Spearman"):
        assert where in first
    assert "95 % interval" not in first  # three tasks are too few for one


def test_runs_without_a_score_are_told_beside_the_gain_that_leaves_them_out() -> None:
    made = tuned("stsb", "lora") + tuned("stsb", "full") + finals("stsb", "lora", [0.8 + x for x in noise(8)])
    made += finals("stsb", "full", [0.82 + x for x in noise(6, 1)])
    made += [record("stsb", "full", 1e-3, 6, None, diverged=True), record("stsb", "full", 1e-3, 7, None)]
    first = told(made, "full:lora").remarks[0]
    assert "6 pairs on 1 task" in first
    assert "WARNING 2 of 8 runs of Full fine-tuning have no score and are left out" in first


def test_scores_on_different_data_are_neither_paired_nor_tested() -> None:
    """A table that was edited between two methods: the same name, task and seeds, and other examples."""
    made = finals("stsb", "lora", [0.8 + x for x in noise(8)]) + finals(
        "stsb", "full", [0.9 + x for x in noise(8, 1)]
    )
    for one in made:
        one.data = {"fingerprint": "a" * 64}
    (table,) = told(made, "full:lora").tables
    assert [claim.separated for claim in table.claims] == [True]
    for one in made[8:]:
        one.data = {"fingerprint": "b" * 64}
    report = told(made, "full:lora")
    (table,) = report.tables
    assert table.claims == []
    assert not any(cell.best for row in table.rows for cell in row.cells.values())
    assert report.remarks[0] == (
        "WARNING stsb: the same seed was run on different data, so that such scores are neither paired nor tested "
        "(Full fine-tuning on bbbbbbbb; LoRA on aaaaaaaa)."
    )
    assert all(not standings_of(table, column).pairs for column in table.columns)


def test_two_machines_are_told() -> None:
    gpu = {"device": "NVIDIA H100", "processor": "CPU B"}
    made = tuned("stsb", "lora") + tuned("stsb", "bitfit", provenance=gpu)
    made += finals("stsb", "lora", [0.8 + x for x in noise(6)])
    made += finals("stsb", "bitfit", [0.81 + x for x in noise(6, 1)], provenance=gpu)
    said = told(made, "bitfit:lora").remarks
    assert "WARNING on 2 different machines" in said[0]
    assert "Cost: not added up, the runs were made on 2 different machines or numbers of threads." in said


def test_ways_to_compute_that_differ_are_named() -> None:
    """As `auto` takes them for the project's methods and not for somebody's own: it is one machine."""
    machine = {"processor": "AMD", "threads": 1, "cores": 2, "device": "cpu"}
    fast = machine | {"ways": {"cpu_kernels": True, "padding_free": True}}
    made = tuned("stsb", "lora", provenance=fast) + tuned("stsb", "mine", provenance=machine)
    made += finals("stsb", "lora", [0.8 + x for x in noise(6)], provenance=fast)
    made += finals("stsb", "mine", [0.81 + x for x in noise(6, 1)], provenance=machine)
    said = told(made, "mine:lora").remarks
    ways = "with and without cpu_kernels and padding_free (train=reference computes all alike)"
    assert f"WARNING {ways}" in said[0]
    assert "machines" not in said[0]
    assert f"Cost: not added up, the runs were made {ways}." in said


def test_a_method_whose_own_settings_are_not_known_is_named_with_the_reason() -> None:
    made = tuned("stsb", "lora") + finals("stsb", "lora", [0.8 + x for x in noise(6)])
    made += [run for size in (1, 2) for run in finals("stsb", "mine", [0.7] * 6, size=size)]
    (line,) = [line for line in told(made).remarks if line.startswith("Not compared")]
    assert "mine, size=1 (of several settings, and which are its own is not known: --config-dir" in line


def test_what_diverged_costs_and_what_is_not_known_is_not_nothing() -> None:
    made = tuned("stsb", "lora") + finals("stsb", "lora", [0.8] * 5)
    made += [record("stsb", "lora", 1e-2, 1000, None, held=True, diverged=True)]
    report = told(made)
    (cell,) = report.tuned
    assert cell.tuning_seconds == 3 * 90 + 120
    assert cell.final_seconds == 5 * 90
    assert "Cost: 6.5 min to tune, 7.5 min for the final runs." in report.remarks
    made[-2].phases[0].train_seconds = made[-2].phases[0].train_cpu_seconds = None
    report = told(made)
    assert report.tuned[0].final_seconds is None
    assert any(line.startswith("Cost: 6.5 min to tune, at least ") for line in report.remarks)
    assert tuning_table(report.tuned).rows[0][-1] == ""  # type: ignore[union-attr]


def test_a_run_that_goes_on_takes_nothing_from_what_the_others_cost() -> None:
    made = tuned("stsb", "lora") + finals("stsb", "lora", [0.8] * 5)
    made[-1].status, made[-1].phases = Status.running, [PhaseRecord("finetune", Status.running)]
    report = told(made)
    (cell,) = report.tuned
    assert cell.final_seconds == 4 * 90
    assert (
        "Cost: 4.5 min to tune, 6.0 min for the final runs, without 1 run that did not come to an end."
        in (report.remarks)
    )


def test_every_tuning_run_counts_as_one_tried() -> None:
    """Three rates at three ranks are nine runs."""
    made = tuned("stsb", "bitfit") + finals("stsb", "bitfit", [0.7] * 3)
    for rank in (1, 4, 16):
        made += tuned("stsb", "lora", base=0.8 + 0.001 * rank, rank=rank)
    made += finals("stsb", "lora", [0.7] * 3, rank=16)
    table = tuning_table(told(made).tuned)
    assert table is not None
    assert "Tuning runs per method and task: 3 to 9, over all settings" in table.notes[1]


@pytest.mark.parametrize(
    ("rates", "shown"),
    [([1e-2], "0.01 (no held-out score)"), ([1e-3, 1e-2], "0.001, 0.01 (several)"), ([], "")],
)
def test_the_rates_of_final_runs_are_told_though_tuning_did_not_choose_them(
    rates: list[float], shown: str
) -> None:
    made = tuned("stsb", "lora")
    for rate in rates:
        made += finals("stsb", "lora", [0.7] * 3, rate)
    table = tuning_table(told(made).tuned)
    assert table is not None
    assert table.rows[0][4] == shown


@pytest.mark.parametrize("change", ["none", "another seed", "more seeds", "another share"])
def test_rates_that_were_tried_on_unlike_terms_are_told(change: str) -> None:
    made = tuned("stsb", "lora") + finals("stsb", "lora", [0.7] * 3)
    first = made[0]
    if change == "another seed":
        first.seed = 1001
    if change == "more seeds":
        made.append(dataclasses.replace(first, seed=1001))
    if change == "another share":
        first.config = {**first.config, "data": {**first.config["data"], "held_out": 0.2}}
    table = tuning_table(told(made).tuned)
    assert table is not None
    said = [note for note in table.notes if "one share" in note]
    assert (
        said == [] if change == "none" else said[0].startswith("The rates of stsb, LoRA were not all tried")
    )


def test_a_score_that_is_not_defined_did_not_diverge() -> None:
    made = [
        record("stsb", "lora", rate, 1000, score, held=True)
        for rate, score in zip(GRID, (0.8, 0.7, None), strict=True)
    ]
    made += [record("stsb", "lora", 1e-2, 1000, None, held=True, diverged=True)]
    table = tuning_table(told(made).tuned)
    assert table is not None
    assert table.rows[0][1:5] == ("80.00", "70.00", "undefined", "diverged")


@pytest.mark.parametrize(("difference", "clear"), [(0.001, 0), (0.06, 1)])
def test_an_order_that_noise_may_have_turned_is_told_from_one_that_it_did_not(
    difference: float, clear: int
) -> None:
    """The standard error of a correlation on 401 examples is at most .05."""
    made = []
    for method, scores in (
        ("lora", (0.7, 0.7, 0.7 - 1e-6)),
        ("bitfit", (0.6, 0.7 - difference, 0.7 + difference)),
    ):
        made += [
            record("stsb", method, rate, 1000, score, held=True)
            for rate, score in zip(GRID, scores, strict=True)
        ]
    made += finals("stsb", "lora", [0.7] * 6, 1e-3) + finals("stsb", "bitfit", [0.71] * 6, 3e-3)
    (line,) = [line for line in told(made, "bitfit:lora").remarks if line.startswith("Tuning turned")]
    assert line.startswith("Tuning turned the order of 1 of 1 pair")
    assert f"; {clear} of them by more than the standard error of a held-out score at both rates" in line


def test_a_method_that_is_still_tuned_is_named() -> None:
    made = tuned("stsb", "lora") + finals("stsb", "lora", [0.8] * 6)
    open_run = record("stsb", "bitfit", 1e-3, 1000, None, held=True, diverged=True)
    open_run.error = None
    open_run.status = Status.interrupted
    said = told([*made, open_run], "bitfit:lora").remarks
    assert (
        "1 tuning run not completed; `autolora-bench status` says which. Not compared yet: BitFit on stsb."
        in said
    )


def three_ranks(seeds: int = 8) -> list[RunRecord]:
    """LoRA of ranks 1, 4 and 16 on STS-B, each tuned; 4 is the one that is shipped."""
    made = []
    for rank, score in ((1, 0.70), (4, 0.74), (16, 0.78)):
        made += tuned("stsb", "lora", rank=rank)
        made += finals("stsb", "lora", [score + x for x in noise(seeds, rank)], rank=rank)
    return made


def test_where_every_two_rows_are_compared_the_gain_is_over_the_row_that_is_named() -> None:
    made = tuned("stsb", "bitfit") + finals("stsb", "bitfit", [0.72 + x for x in noise(8)])
    first = prepare(three_ranks() + made).remarks[0]
    wanted = 100 * (0.02 - float(np.mean(noise(8))) + float(np.mean(noise(8, 4))))
    assert first.startswith(
        f"Tuned alike on minilm, against LoRA, rank 4: BitFit \N{MINUS SIGN}{wanted:.2f} (95 %"
    )
    assert first.count(";") == 0  # neither of LoRA's other ranks is the reference


def test_more_seeds_make_no_other_row_the_main_one() -> None:
    made = three_ranks() + [record("stsb", "lora", 1e-3, seed, 0.7, rank=1) for seed in range(8, 12)]
    made += tuned("stsb", "bitfit") + finals("stsb", "bitfit", [0.72 + x for x in noise(12)])
    assert told(made, "bitfit:lora").remarks[0].startswith("Tuned alike on minilm, against LoRA, rank 4: ")


@pytest.mark.parametrize("status", [Status.interrupted, Status.failed])
@pytest.mark.parametrize("held", [False, True])
def test_a_run_that_came_to_nothing_makes_no_other_row_the_reference(status: Status, held: bool) -> None:
    """A final run with another rate, or one more rate of the tuning."""
    made = three_ranks() + tuned("stsb", "bitfit") + finals("stsb", "bitfit", [0.72 + x for x in noise(8)])
    lost = record("stsb", "lora", 1e-2, 1000 if held else 0, None, rank=4, held=held, diverged=True)
    lost.status = status
    lost.error = {"type": "RuntimeError", "message": "", "mend": "", "traceback": ""}
    report = told([*made, lost], "bitfit:lora")
    assert report.remarks[0].startswith("Tuned alike on minilm, against LoRA, rank 4: BitFit ")
    assert not any("WARNING not compared as tuned" in line for line in report.remarks)
    unfinished = "WARNING tuning is not completed, so that another rate may be better: LoRA, rank 4 on stsb."
    assert (unfinished in report.remarks) == held
    table = tuning_table(report.tuned)
    assert table is not None
    assert ("0.001 (best so far)" in [row[-3] for row in table.rows]) == held


def test_what_holms_later_steps_find_is_not_said_to_be_too_few() -> None:
    """Seven pairs cannot be found first among five comparisons, and are found once those with eight have been."""
    made = tuned("stsb", "lora") + finals("stsb", "lora", [0.7 + x for x in noise(7)])
    for number, (method, score) in enumerate((("full", 0.75), ("bitfit", 0.8), ("eva", 0.85)), 1):
        made += tuned("stsb", method) + finals("stsb", method, [score + x for x in noise(8, number)])
    compare = ("full:lora", "bitfit:lora", "eva:lora", "full:bitfit", "full:eva")
    report = told(made, *compare)
    assert [claim.separated for claim in report.tables[0].claims] == [True] * 5
    first = report.remarks[0]
    assert "After correction for 5 comparisons separated from it: " in first
    assert first.count("too few to find anything unless others are found") == 3
    assert not any("Nothing could be separated" in line for line in report.remarks)


def test_the_rate_that_orders_are_turned_from_is_the_references() -> None:
    """LoRA of rank 1 has its best rate elsewhere; it is no method beside LoRA of rank 4 either."""
    made = []
    for rank, rate in ((1, 3e-4), (4, 1e-3)):
        made += tuned("stsb", "lora", rate, rank=rank) + finals("stsb", "lora", [0.7] * 6, rate, rank=rank)
    scores = zip(GRID, (0.9, 0.7, 0.95), strict=True)  # behind rank 4 at 1e-3, ahead at its own rate
    made += [record("stsb", "bitfit", rate, 1000, score, held=True) for rate, score in scores]
    made += finals("stsb", "bitfit", [0.71] * 6, 3e-3)
    (line,) = [line for line in told(made, "bitfit:lora").remarks if line.startswith("Tuning turned")]
    assert line.startswith("Tuning turned the order of 1 of 1 pair of methods")
    assert "BitFit and LoRA, rank 4 on stsb" in line or "LoRA, rank 4 and BitFit on stsb" in line


def test_equal_rates_are_both_best_however_their_mean_is_rounded() -> None:
    """Two tuning seeds: the sums of hits are equal, and the means of percentages are not to the last digit."""
    hits = {3e-4: (200, 201), 1e-3: (243, 244), 3e-3: (240, 247)}
    for chosen in (1e-3, 3e-3):
        made = [
            record("mrpc", "lora", rate, 1000 + seed, hit / 367, held=True)
            for rate, pair in hits.items()
            for seed, hit in enumerate(pair)
        ]
        (cell,) = told(made + finals("mrpc", "lora", [0.7] * 3, chosen)).tuned
        assert cell.is_best


def test_who_is_not_compared_is_named_with_the_reason() -> None:
    made = tuned("stsb", "lora") + finals("stsb", "lora", [0.7 + x for x in noise(8)])
    made += tuned("stsb", "full") + finals("stsb", "full", [0.75 + x for x in noise(8, 1)])
    made += tuned("stsb", "eva") + finals("stsb", "eva", [0.75 + x for x in noise(8, 2)])
    made += [*tuned("stsb", "dora"), record("stsb", "dora", 1e-3, 9, 0.7)]
    made += finals("stsb", "pissa", [0.75] * 8)
    made += tuned("stsb", "bitfit")
    made += [record("stsb", "ia3", rate, 1000, None, held=True, diverged=True) for rate in GRID]
    said = told(made, "full:lora", "dora:lora", "pissa:lora").remarks
    assert said[0].startswith("Tuned alike on minilm, against LoRA: Full fine-tuning ")
    assert said[1] == (
        "Not compared with LoRA: DoRA (0 pairs shared with it); EVA (not declared, compare=eva:lora does); "
        "PiSSA (not tuned, or not run with the rate that tuning chose)."
    )
    assert "Tuned and not compared yet, without a final run: BitFit on stsb." in said
    assert "Not compared, as no tuning run has a score: IA3 on stsb." in said
    report = told(made, "pissa:lora")
    card = card_of(report.tables[0], None, {}, report.tuned)
    (badge,) = [badge for badge in card.badges if badge.name == "learning rates"]
    assert (badge.says, badge.sound) == ("tuned on held-out data, but for PiSSA", False)


def test_other_sums_of_ranks_and_other_training_are_told() -> None:
    def layers(runs: list[RunRecord], ranks: Sequence[int]) -> list[RunRecord]:
        for run in runs:
            run.ranks = [LayerRank(f"layer.{n}.query", n, "query", rank) for n, rank in enumerate(ranks)]
        return runs

    made = tuned("stsb", "lora") + layers(finals("stsb", "lora", [0.7 + x for x in noise(8)]), (4, 4))
    made += tuned("stsb", "lora_uniform") + layers(
        finals("stsb", "lora_uniform", [0.7 + x for x in noise(8, 1)]), (7, 1)
    )
    made += tuned("stsb", "autolora") + layers(
        finals("stsb", "autolora", [0.7 + x for x in noise(8, 2)]), (3, 6)
    )
    longer = {"train": {"epochs": 6.0}}
    made += tuned("stsb", "full", **longer) + finals("stsb", "full", [0.7 + x for x in noise(8, 3)], **longer)
    made += tuned("stsb", "head_only", train={"head_learning_rate": 1e-3})[1:2]  # whose rate is the head's
    other = {"train": {"head_learning_rate": 3e-3}}
    made += tuned("stsb", "eva", **other) + finals("stsb", "eva", [0.7 + x for x in noise(8, 4)], **other)
    first = told(made, "lora_uniform:lora", "autolora:lora", "full:lora", "eva:lora").remarks[0]
    assert "WARNING with train.head_learning_rate=0.003 instead of 0.001" in first
    assert first.count("in all") == 1
    assert "ranks 9 in all, LoRA's 8" in first
    assert "WARNING with train.epochs=6" in first
    assert first.count("WARNING") == 2


def test_a_comparison_said_twice_is_tested_once_and_none_is_with_itself() -> None:
    made = three_ranks() + tuned("stsb", "bitfit") + finals("stsb", "bitfit", [0.72 + x for x in noise(8)])
    (table,) = told(made, "bitfit:lora", "lora:bitfit", "bitfit:lora").tables
    assert len(table.claims) == 1
    said = told(made, "bitfit:lora", "adalora:lora", "adalora:ia3").remarks
    assert "compare=adalora:lora is not tested: there are no runs of adalora." in said
    assert "compare=adalora:ia3 is not tested: there are no runs of adalora and ia3." in said
    with pytest.raises(UserError, match="compare=lora:lora is no comparison of two methods"):
        told(made, "lora:lora")


def test_declared_comparisons_of_other_seeds_do_not_vanish() -> None:
    made = finals("stsb", "lora", [0.8 + x for x in noise(8)])
    others = finals("stsb", "bitfit", [0.9 + x for x in noise(8)])
    for run in others:
        run.seed += 8
    remark = (
        "compare=bitfit:lora is not tested on minilm: their scored runs share fewer than two seeds of a task with the "
        "same data."
    )
    assert remark in told(made + others, "bitfit:lora").remarks
    assert remark not in told(made + finals("stsb", "bitfit", [0.9] * 8), "bitfit:lora").remarks


def test_differences_without_spread_are_no_proof_that_there_is_none() -> None:
    """Two methods that give the larger class always."""
    made = tuned("mrpc", "lora") + tuned("mrpc", "bitfit")
    made += finals("mrpc", "lora", [0.6838] * 8) + finals("mrpc", "bitfit", [0.6838] * 8)
    report = told(made, "bitfit:lora")
    assert "would have found 0.00" not in report.remarks[0]
    assert "the differences do not vary" in report.remarks[0]
    (table,) = report.comparisons
    assert table.rows[0][-1] == ""
    assert any("do not vary: BitFit against LoRA on MRPC" in note for note in table.notes)


def test_means_over_other_seeds_than_the_difference_are_told() -> None:
    made = finals("stsb", "lora", [0.70 + x for x in noise(6)] + [0.95] * 6)
    made += finals("stsb", "bitfit", [0.75 + x for x in noise(6)])
    (table,) = told(made, "bitfit:lora").comparisons
    assert table.rows[0][3] == "+5.00"
    assert any("say another order" in note and "BitFit against LoRA" in note for note in table.notes)


def test_small_differences_keep_their_size_and_sign() -> None:
    assert numerals.difference(-0.0025) == "\N{MINUS SIGN}0.0025"
    assert numerals.difference(0.000126) == "+0.00013"
    assert (numerals.size(0.004), numerals.size(0.0)) == ("0.0040", "0.00")
    assert (numerals.score(0.0), numerals.difference(-1e-12)) == ("0.00", "0.00")
    assert (numerals.size(0.006), numerals.difference(2.5)) == ("0.01", "+2.50")


def test_small_scores_of_another_unit_keep_three_digits() -> None:
    """A loss of 0.0312 is another than one of 0.0287; 0.03 points of an accuracy are nothing."""
    assert [numerals.score(loss, fraction=False) for loss in (0.0312, 0.0287, 2.345)] == [
        "0.0312",
        "0.0287",
        "2.35",
    ]
    assert numerals.score(0.0312) == "0.03"


def test_p_values_are_not_rounded_to_nothing_or_over_the_level() -> None:
    written = [numerals.p_value(p, 3) for p in (0.0004, 0.0312, 0.0498, 0.05, 1.0)]
    assert written == ["<0.001", "0.031", "<0.050", "0.050", "1.000"]
