"""Costs: sums by hand, ratios within one machine only, AdaLoRA = 1."""

from collections.abc import Callable

import pytest

from autolora_bench.record import PhaseRecord, RunRecord, Status
from autolora_bench.report.aggregate import tables_of
from autolora_bench.report.cost import CostRow, CostTable, cost_tables, run_cost
from autolora_bench.report.cost_report import cost_reports
from autolora_bench.report.entries import entries_of

Make = Callable[..., RunRecord]


def costs(records: list[RunRecord]) -> list[CostTable]:
    entries, _ = entries_of(records, None)
    return cost_tables(tables_of(entries, epoch="best", metrics="paper", title="T"))


def row(table: CostTable, label: str) -> CostRow:
    return next(one for one in table.rows if one.label == label)


def phase(name: str, seconds: float, train: float | None, peak: int = 10, tokens: int = 100) -> PhaseRecord:
    return PhaseRecord(name, Status.completed, seconds, train, peak, 5, 50, tokens, 1e12)


def test_a_runs_cost_is_the_sum_of_its_phases(make: Make) -> None:
    phases = [
        phase("search", 60, 50, peak=30),
        PhaseRecord("threshold", Status.completed, 1),
        phase("retrain", 30, 20),
    ]
    phases.append(PhaseRecord("evaluate", Status.completed, 9, peak_memory_bytes=40))
    cost = run_cost(make("rte", "autolora", 0, 0.7, phases=phases))
    assert (cost.wall, cost.search, cost.train, cost.total) == (100, 50, 20, 70)
    assert (cost.peak, cost.tokens, cost.flops) == (40, 200, 2e12)


def test_methods_without_a_search_have_none(make: Make) -> None:
    assert run_cost(make("rte", "lora", 0, 0.7, phases=[phase("finetune", 30, 20)])).search == 0


def test_unknown_step_times_stay_unknown(make: Make) -> None:
    assert run_cost(make("rte", "lora", 0, 0.7, phases=[phase("finetune", 30, None)])).total is None


def test_ratio_is_of_means_over_shared_tasks(make: Make) -> None:
    records = [
        make("rte", "adalora", 0, 0.7, phases=[phase("finetune", 50, 40)]),
        make("rte", "adalora", 1, 0.7, phases=[phase("finetune", 50, 60)]),
        make("cola", "adalora", 0, 0.7, phases=[phase("finetune", 50, 150)]),
        make("rte", "autolora", 0, 0.7, phases=[phase("search", 50, 75), phase("retrain", 50, 25)]),
        make("cola", "autolora", 0, 0.7, phases=[phase("search", 50, 75), phase("retrain", 50, 25)]),
        make("mrpc", "autolora", 0, 0.7, phases=[phase("search", 50, 9000), phase("retrain", 50, 9000)]),
    ]
    (table,) = costs(records)
    assert row(table, "adalora").relative == 1.0
    autolora = row(table, "autolora")
    assert autolora.relative == pytest.approx(100 / ((50 + 150) / 2))
    assert autolora.relative_search == pytest.approx(0.75)
    assert autolora.shared == ("rte", "cola")


def test_machines_are_never_mixed(make: Make) -> None:
    there = {"provenance": {"device": "cpu", "processor": "CPU X", "cores": 2, "threads": 1}}
    records = [
        make("rte", "adalora", 0, 0.7, phases=[phase("finetune", 50, 40)]),
        make("rte", "lora", 0, 0.7, phases=[phase("finetune", 50, 20)]),
        make("rte", "lora", 1, 0.7, phases=[phase("finetune", 50, 4000)], **there),
    ]
    gpu, cpu = costs(records)
    assert (gpu.machine, cpu.machine) == ("Test GPU", "CPU X, 1 of 2 cores")
    assert row(gpu, "lora").relative == 0.5
    assert row(cpu, "lora").relative is None
    assert any("No ratio" in note for note in cost_reports([cpu])[0].notes)


def test_the_grid_adds_up_the_ranks_that_were_run(make: Make) -> None:
    records = [
        make("rte", "adalora", 0, 0.7, phases=[phase("finetune", 50, 40)]),
        make("rte", "lora", 0, 0.7, phases=[phase("finetune", 50, 20)]),
        make("rte", "lora", 1, 0.7, phases=[phase("finetune", 50, 30)]),
        make("rte", "lora4", 0, 0.7, phases=[phase("finetune", 50, 15)]),
    ]
    (table,) = costs(records)
    assert row(table, "lora, grid of 2 ranks").relative == pytest.approx((25 + 15) / 40)


def test_report_in_words(make: Make) -> None:
    records = [
        make("rte", "adalora", 0, 0.7, phases=[phase("finetune", 50, 40, tokens=4000)]),
        make("rte", "full", 0, 0.7, phases=[phase("finetune", 400, 200, peak=3 * 2**30)]),
    ]
    full, adalora = cost_reports(costs(records))[0].rows
    assert full == ("full", "5.00", "--", "3.3 min", "6.7 min", "0", "3.00 GiB", "0.001", "1")
    assert adalora[5] == "100"
