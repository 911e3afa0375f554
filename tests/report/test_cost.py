"""Costs: sums by hand, ratios within one machine only, AdaLoRA = 1."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from autolora_bench.record import PhaseRecord, RunRecord, Status
from autolora_bench.report.costs import CostTable, cost_reports, cost_tables
from autolora_bench.report.frames import cost_by_row, frames_of, run_cost
from autolora_bench.report.runs import runs_of
from autolora_bench.report.tables import tables_of

Make = Callable[..., RunRecord]


def costs(records: list[RunRecord]) -> list[CostTable]:
    runs, _ = runs_of(records, None)
    return cost_tables(tables_of(frames_of(runs), epoch="best", metrics="paper", title="T"))


def row(table: CostTable, label: str) -> pd.Series:
    return table.rows.loc[label]


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
    assert (cost.peak, cost.peak_search, cost.peak_train) == (40, 30, 10)
    assert (cost.tokens, cost.flops) == (200, 2e12)


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
    assert row(table, "AdaLoRA").relative == 1.0
    autolora = row(table, "AutoLoRA")
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
    assert row(gpu, "LoRA").relative == 0.5
    assert pd.isna(row(cpu, "LoRA").relative)
    assert any("No ratio" in note for note in cost_reports([cpu])[0].notes)


def test_machines_of_one_name_and_two_kinds_are_never_mixed(make: Make) -> None:
    """A virtual machine's processor is often named for a whole line: what it computes with tells them apart."""
    shared = {"device": "cpu", "processor": "CPU X", "cores": 2, "threads": 1}
    records = [
        make("rte", "adalora", 0, 0.7, phases=[phase("finetune", 50, 40)], provenance=shared),
        make(
            "rte",
            "lora",
            0,
            0.7,
            phases=[phase("finetune", 50, 20)],
            provenance=shared | {"microarchitecture": "family 25 model 1, avx2"},
        ),
    ]
    found = {table.machine: row(table, "LoRA") for table in costs(records) if "avx2" in table.machine}
    assert list(found) == ["CPU X (family 25 model 1, avx2), 1 of 2 cores"]
    assert all(pd.isna(one.relative) for one in found.values())


def test_the_ratio_is_over_the_main_adalora_of_the_machine(make: Make) -> None:
    there = {"provenance": {"device": "cpu", "processor": "CPU X", "cores": 2, "threads": 1}}
    main = make("rte", "adalora", 0, 0.7, phases=[phase("finetune", 110, 100)])
    small = dataclasses.replace(main, phases=[phase("finetune", 60, 50)], config_id="0000")
    small.config = {**main.config, "method": {**main.config["method"], "target_rank": 2}}
    lora = make("rte", "lora", 0, 0.7, phases=[phase("finetune", 110, 100)])
    (found,) = costs([small, main, lora])
    assert row(found, "LoRA").relative == 1.0
    assert found.reference.endswith("target_rank=default")
    other = dataclasses.replace(small, **there)  # type: ignore[arg-type]
    tables = {table.machine: table for table in costs([other, main, lora])}
    gpu, cpu = tables["Test GPU"], tables["CPU X, 1 of 2 cores"]
    assert (row(gpu, "LoRA").relative, cpu.rows["relative"].tolist()) == (1.0, [1.0])
    assert cpu.reference.endswith("target_rank=2")


def test_the_grid_adds_up_the_ranks_that_were_run(make: Make) -> None:
    records = [
        make("rte", "adalora", 0, 0.7, phases=[phase("finetune", 50, 40)]),
        make("rte", "lora", 0, 0.7, phases=[phase("finetune", 50, 20)]),
        make("rte", "lora", 1, 0.7, phases=[phase("finetune", 50, 30)]),
        make("rte", "lora4", 0, 0.7, phases=[phase("finetune", 50, 15)]),
    ]
    (table,) = costs(records)
    assert row(table, "LoRA, grid of 2 ranks").relative == pytest.approx((25 + 15) / 40)


def test_report_in_words(make: Make) -> None:
    records = [
        make("rte", "adalora", 0, 0.7, phases=[phase("finetune", 50, 40, tokens=4000)]),
        make("rte", "full", 0, 0.7, phases=[phase("finetune", 400, 200, peak=3 * 2**30)]),
    ]
    report = cost_reports(costs(records))[0]
    full, adalora = (dict(zip(report.head, line, strict=True)) for line in report.rows)
    assert full == {
        "method": "Full fine-tuning",
        "training / AdaLoRA": "5.00",
        "search": "--",
        "training": "3.3 min",
        "wall clock": "6.7 min",
        "tokens/s": "0",
        "peak, training": "3.00 GiB",
        "peak, all": "3.00 GiB",
        "PFLOP": "0.001",
        "runs": "1",
    }
    assert adalora["tokens/s"] == "100"


def test_processor_time_is_compared_where_every_record_has_it(make: Make) -> None:
    def with_cpu(name: str, cpu: float | None) -> PhaseRecord:
        return replace(phase(name, 500, 400), train_cpu_seconds=cpu)

    records = [
        make("rte", "adalora", 0, 0.7, phases=[with_cpu("finetune", 40)]),
        make("rte", "autolora", 0, 0.7, phases=[with_cpu("search", 60), with_cpu("retrain", 30)]),
        make("rte", "lora", 0, 0.7, phases=[with_cpu("finetune", 20)]),
        make("rte", "lora", 1, 0.7, phases=[with_cpu("finetune", None)]),
    ]
    (table,) = costs(records)
    assert row(table, "AutoLoRA").cpu == 90
    assert row(table, "AutoLoRA").relative_cpu == pytest.approx(90 / 40)
    assert row(table, "LoRA").relative == 1.0
    assert pd.isna(row(table, "LoRA").relative_cpu)
    (report,) = cost_reports([table])
    assert report.head[1:3] == ("training / AdaLoRA", "CPU / AdaLoRA")
    assert any("older record" in note for note in report.notes)


def test_runs_of_several_processes_are_another_machine_and_their_processor_time_is_unknown(
    make: Make,
) -> None:
    alone = make("rte", "lora", 0, 0.7)
    together = make("rte", "lora", 1, 0.7)
    together.provenance["processes"] = 4
    assert [table.machine for table in costs([alone, together])] == ["Test GPU", "Test GPU, 4 processes"]
    assert run_cost(alone).total == run_cost(together).total
    assert run_cost(together).cpu is None


def test_a_training_of_learning_rates_is_a_search(make: Make) -> None:
    phases = [phase("rates", 60, 50, peak=30), phase("finetune", 30, 20)]
    cost = run_cost(make("rte", "lora", 0, 0.7, phases=phases))
    assert (cost.search, cost.train, cost.total, cost.peak_search) == (50, 20, 70, 30)


def test_memory_of_an_accelerator_is_not_set_beside_a_processors(make: Make) -> None:
    records = [make("rte", method, 0, 0.7) for method in ("lora", "full")]
    (both,) = [frames_of(runs_of(records, None)[0]).costs]
    named = both.assign(row=[0, 1], task="rte")
    assert cost_by_row(named, "peak", {"rte"}).keys() == {0, 1}
    assert cost_by_row(named.assign(accelerator=[True, False]), "peak", {"rte"}) == {}
