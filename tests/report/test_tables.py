"""What tables say: means against numpy, marks, gaps, variants, footnotes."""

import csv
import dataclasses
import io
import re
from collections.abc import Callable

import numpy as np
import pytest

from autolora_bench.paths import conf_dir
from autolora_bench.plan import PlannedRun
from autolora_bench.record import RunRecord, Status
from autolora_bench.report.costs import cost_tables
from autolora_bench.report.frames import frames_of
from autolora_bench.report.quality import points_of
from autolora_bench.report.runs import family_of, runs_of
from autolora_bench.report.scoreboard import Row
from autolora_bench.report.tables import tables_of
from autolora_bench.report.tidy_csv import tidy
from autolora_bench.report.unlike import warnings_of
from tests.report.conftest import Make, Study, table


def cells(row: Row) -> dict[str, float | None]:
    return {f"{column.task}/{column.split}/{column.score}": cell.mean for column, cell in row.cells.items()}


def test_mean_and_deviation_equal_numpy(make: Make) -> None:
    scores = [0.71, 0.745, 0.69, 0.73]
    shown = table([make("rte", "lora", seed, score) for seed, score in enumerate(scores)])
    (cell,) = shown.rows[0].cells.values()
    assert cell.mean == pytest.approx(100 * np.mean(scores))
    assert cell.std == pytest.approx(100 * np.std(scores, ddof=1))


def test_methods_stand_in_the_papers_order(make: Make) -> None:
    records = [make("rte", method, 0, 0.7) for method in ("uniform", "autolora", "adalora", "lora", "full")]
    assert [row.method for row in table(records).rows] == ["full", "lora", "adalora", "autolora", "uniform"]


def test_every_method_has_a_place_in_a_table() -> None:
    methods = [path.stem for path in (conf_dir() / "method").glob("*.yaml")]
    families = {
        method: family_of(RunRecord("t", "m", method, "c", 0, Status.completed, {}, "")) for method in methods
    }
    assert "other" not in families.values()
    assert {m for m in families if families[m] == "prompt"} == {
        *("prefix_tuning", "prompt_tuning", "p_tuning", "llama_adapter", "ia3"),
    }
    assert families["lora_random_ranks"] == families["lora_from_ranks"] == "control"
    assert families["autolora_topk"] == "autolora"
    assert families["dora"] == families["lora_plus"] == "variant"


def test_two_configurations_are_two_rows_and_never_averaged(make: Make) -> None:
    rows = table([make("rte", "lora", 0, 0.8), make("rte", "lora4", 0, 0.6)]).rows
    assert [(row.label, cells(row)["rte/validation/accuracy"]) for row in rows] == [
        ("LoRA, rank 4", 60.0),
        ("LoRA, rank 8", 80.0),
    ]


def test_settings_that_differ_from_task_to_task_do_not_split_a_row(make: Make) -> None:
    (row,) = table([make("rte", "lora", 0, 0.8), make("cola", "lora", 0, 0.6, limit=10)]).rows
    assert row.label == "LoRA"
    assert row.parameters == [294_912, 294_912]


def test_many_differing_settings_are_named_in_a_footnote(make: Make) -> None:
    other = make("rte", "lora", 0, 0.7, limit=10)
    other.config["train"] |= {"epochs": 9, "batch_size": 4, "clip": 0.5}
    shown = table([make("rte", "lora", 0, 0.8), other])
    assert {row.label for row in shown.rows} == {"LoRA [A]", "LoRA [B]"}
    assert any(
        re.search(r"LoRA \[.\]: data\.limit=10, train\.batch_size=4.*epochs=9", note)
        for note in shown.footnotes
    )


def test_bold_needs_separation(make: Make) -> None:
    def best(gap: float, seeds: int) -> bool:
        records = [make("rte", "lora", seed, 0.7 + 0.01 * seed) for seed in range(seeds)]
        records += [make("rte", "autolora", seed, 0.7 + 0.01 * seed + gap) for seed in range(seeds)]
        autolora = table(records).rows[1]
        return next(iter(autolora.cells.values())).best

    assert best(0.001, 6)
    assert not best(0.2, 5)
    assert not best(0.0, 6)


def test_bold_where_lower_is_better(make: Make) -> None:
    """TER is the headline here; no other score is claimed of."""
    low = {"ter": 0.3, "bleu": 0.4, "meteor": 0.3}
    records = [make("webnlg", "lora", seed, {**low, "ter": 0.4 + 0.01 * seed}) for seed in range(10)]
    records += [make("webnlg", "full", seed, {**low, "ter": 0.3 + 0.01 * seed}) for seed in range(10)]
    for record in records:
        record.headline = "ter"
    marked = {
        (row.method, column.score)
        for row in table(records).rows
        for column, cell in row.cells.items()
        if cell.best
    }
    assert ("full", "ter") in marked
    assert not {("lora", "ter"), ("full", "bleu"), ("lora", "bleu")} & marked


def test_failed_missing_and_undefined_are_told_apart(make: Make, plan: Callable[..., PlannedRun]) -> None:
    records = [
        make("rte", "full", 0, 0.7),
        make("rte", "lora", 0, status=Status.failed),
        make("rte", "adalora", 0, {"accuracy": None}),
    ]
    planned = [plan("rte", method) for method in ("full", "lora", "adalora", "autolora")]
    shown = table(records, planned)
    states = {row.method: next(iter(row.cells.values())).state for row in shown.rows[1:]}
    assert states == {"lora": "failed", "adalora": "undefined", "autolora": "--"}
    assert [gap.command for gap in shown.unfilled] == [planned[1].command, planned[3].command]
    assert any("AdaLoRA" in note and "not defined for seed 0" in note for note in shown.footnotes)


def test_seeds_of_one_gap_share_a_command(study: Study) -> None:
    shown = table(*study)
    assert "autolora-bench -m task=cola method=autolora model=roberta_base seed=1,2" in {
        g.command for g in shown.unfilled
    }


def test_tasks_of_one_gap_share_a_command_where_the_same_is_missing(
    make: Make, plan: Callable[..., PlannedRun]
) -> None:
    planned = [plan(task, "lora", seed) for task in ("rte", "mrpc", "cola") for seed in (0, 1)]
    shown = table([make("cola", "lora", 0, 0.5)], planned)
    assert {(gap.what, gap.command) for gap in shown.unfilled} == {
        (
            "LoRA on rte, mrpc: missing (seed 0, 1)",
            "autolora-bench -m task=rte,mrpc method=lora model=roberta_base seed=0,1",
        ),
        ("LoRA on cola: missing (seed 1)", planned[-1].command),
    }


def test_average_is_by_seed_and_only_over_complete_rows(make: Make) -> None:
    records = [
        make(task, "lora", seed, score + 0.1 * seed)
        for task, score in (("rte", 0.5), ("cola", 0.3))
        for seed in (0, 1)
    ]
    records.append(make("rte", "full", 0, 0.9))
    full, lora = table(records).rows
    means = {
        row.method: [cell for column, cell in row.cells.items() if column.is_average] for row in (full, lora)
    }
    assert means["full"][0].mean is None
    assert means["lora"][0].mean == pytest.approx(45.0)
    assert means["lora"][0].std == pytest.approx(np.std([40, 50], ddof=1))


def test_average_over_tasks_with_different_seeds_has_no_deviation(make: Make) -> None:
    records = [make("rte", "lora", 0, 0.5), make("rte", "lora", 1, 0.7), make("cola", "lora", 0, 0.4)]
    average = next(cell for column, cell in table(records).rows[0].cells.items() if column.is_average)
    assert (average.mean, average.std, average.n) == (pytest.approx(50.0), None, 1)


def test_no_average_of_scores_that_cannot_be_added(make: Make) -> None:
    nist = make("rte", "lora", 0, 0.5)
    other = make("cola", "lora", 0, {"nist": 8.0}, headline="nist")
    other.config["task"]["metrics"] = ["nist"]
    assert not any(column.is_average for column in table([nist, other]).columns)


def test_last_epoch_and_test_scores(make: Make) -> None:
    rte = table([make("rte", "lora", 0, 0.8)], epoch="last").rows[0]
    assert cells(rte)["rte/validation/accuracy"] == pytest.approx(79.0)
    webnlg = table([make("webnlg", "lora", 0, {"bleu": 0.5, "meteor": 0.4, "ter": 0.45})], epoch="last").rows[
        0
    ]
    assert cells(webnlg)["webnlg/test/bleu"] == pytest.approx(50.0)
    assert cells(webnlg)["webnlg/test/bleu/unseen"] == pytest.approx(40.0)


def test_footnotes_name_what_a_reader_must_know(make: Make) -> None:
    one = make("rte", "lora", 0, 0.7, data={"subsets": {"train": [1000, 2490]}, "notes": ["7 rows dropped"]})
    two = make(
        "rte",
        "lora",
        1,
        0.7,
        limit=50,
        data={"fingerprint": "other"},
        provenance={"dirty": True, "processor": "CPU X", "cores": 2},
    )
    text = " ".join(table([one, two]).footnotes)
    for said in ("1,000 of 2,490 rows", "7 rows dropped", "at most 50 training", "fingerprints differ"):
        assert said in text
    for said in ("with local changes", "CPU X", "Test GPU", "fp32", "lean upwards"):
        assert said in text


def test_cells_of_another_precision_or_machine_are_named(make: Make) -> None:
    def made(task: str, method: str, precision: str, device: str) -> RunRecord:
        record = make(task, method, 0, 0.7, provenance={"device": device})
        record.config["train"]["precision"] = precision
        return record

    records = [made("rte", m, "fp32", "GPU A") for m in ("lora", "autolora")]
    records += [made("mrpc", "lora", "bf16", "GPU A"), made("mrpc", "autolora", "bf16", "GPU B")]
    text = " ".join(table(records).footnotes)
    assert "Precision: fp32 (rte), bf16 (mrpc)." in text
    assert "Hardware: GPU A (rte, mrpc lora), GPU B (mrpc autolora)." in text


@pytest.mark.parametrize(
    ("machine", "ways"),
    [
        ("CPU X, 1 of 2 cores", ["cpu_kernels"]),
        ("CPU X, 1 of 2 cores", ["cpu_kernels", "padding_free"]),
        ("GPU A", ["padding_free"]),
    ],
)
def test_another_way_to_use_a_machine_is_of_other_times(make: Make, machine: str, ways: list[str]) -> None:
    cpu = {"device": "cpu", "processor": "CPU X", "threads": 1, "cores": 2}
    facts = {"device": machine} if machine == "GPU A" else cpu
    records = [make("rte", m, 0, 0.7, provenance=facts) for m in ("lora", "adalora")]
    records[0].config["train"] |= dict.fromkeys(ways, True)
    shown = table(records)
    text, named = " ".join(shown.footnotes), ", ".join([machine, *ways])
    assert f"Hardware: {named} (rte lora), {machine} (rte adalora)." in text
    assert all(row.seconds is None for row in shown.rows)
    assert [cost.machine for cost in cost_tables([shown])] == [named, machine]


def test_what_auto_came_to_is_told_of_every_run_whatever_its_cell(make: Make) -> None:
    """One config_id, as device=auto has; never times of different ways in one table."""
    facts = {"device": "cpu", "processor": "CPU X", "threads": 1, "cores": 2}
    ways = [{"cpu_kernels": True, "padding_free": True}, {"cpu_kernels": False, "padding_free": True}]
    records = [
        make("rte", "lora", seed, 0.7, provenance={**facts, "ways": used}) for seed, used in enumerate(ways)
    ]
    for record in records:
        record.config["train"] |= {"cpu_kernels": "auto", "padding_free": "auto"}
    shown = table(records)
    text, whole = " ".join(shown.footnotes), "CPU X, 1 of 2 cores"
    both, one = f"{whole}, cpu_kernels, padding_free (rte lora)", f"{whole}, padding_free (rte lora)"
    assert f"Hardware: {both}, {one}." in text
    assert shown.rows[0].seconds is None


def test_runs_of_auto_and_earlier_ones_are_two_rows_that_say_so(make: Make) -> None:
    earlier, automatic = (make("rte", "lora", seed, 0.7) for seed in (0, 1))
    automatic.config["train"] |= {"cpu_kernels": "auto", "padding_free": "auto"}
    automatic.config_id = "0badcafe"
    labels = [row.label for row in table([earlier, automatic]).rows]
    assert len(labels) == 2
    assert sum("train.cpu_kernels=" in label and "train.padding_free=" in label for label in labels) == 1


@pytest.mark.parametrize(
    ("provenance", "config", "more"),
    [
        ({}, {}, " train.cpu_kernels=false train.padding_free=false"),
        ({}, {"cpu_kernels": True}, " train.padding_free=false"),
        ({"ways": {}}, {"cpu_kernels": "auto", "padding_free": "auto"}, ""),
    ],
)
def test_the_command_of_a_record_from_before_auto_makes_the_same_run_today(
    make: Make, provenance: dict[str, object], config: dict[str, object], more: str
) -> None:
    record = make("rte", "lora", 0, 0.7, provenance=provenance, command="autolora-bench task=rte")
    record.config["train"] |= config
    ((run,), _) = runs_of([record], None)
    assert run.command == f"autolora-bench task=rte{more}"


def test_a_row_shows_the_seconds_of_search_and_training(make: Make) -> None:
    records = [make("rte", method, seed) for method in ("lora", "autolora") for seed in (0, 1, 2)]
    records.append(make("cola", "lora", 0))
    timed = table(records)
    seconds = {row.method: row.seconds for row in timed.rows}
    assert seconds["autolora"] is None, "it has no run on CoLA"
    assert seconds["lora"] == pytest.approx((35 + 35) / 2)
    timed = table(records[:6])
    assert {row.method: row.seconds for row in timed.rows} == pytest.approx({"lora": 35, "autolora": 66 + 37})


def test_seconds_of_several_machines_are_not_set_side_by_side(make: Make) -> None:
    elsewhere = make("rte", "autolora", 0, provenance={"device": "Another GPU"})
    timed = table([make("rte", "lora", 0), elsewhere])
    assert [row.seconds for row in timed.rows] == [None, None]


def test_weights_of_a_score_are_those_of_its_task(make: Make) -> None:
    records = [make("rte", "lora", 0, 0.7), make("cola", "lora", 0, 0.5), make("cola", "lora", 1, 0.5)]
    for record in records[1:]:
        assert record.parameters is not None
        record.parameters = dataclasses.replace(
            record.parameters, trainable=record.parameters.trainable + 1_000_000
        )
    shown = table(records)
    sizes = {column.task: points_of(shown, column)[0].size for column in shown.columns}
    rank8 = 294_912 / 1e6
    assert sizes == pytest.approx({"rte": rank8, "cola": rank8 + 1, "average": rank8 + 0.5})
    lines = [line for line in csv.DictReader(io.StringIO(tidy([shown]))) if line["mean"]]
    assert {line["task"]: float(line["parameters"]) / 1e6 for line in lines} == pytest.approx(sizes)


def test_the_cost_of_an_average_is_of_the_tasks_it_is_over(make: Make) -> None:
    records = [make(task, "lora", 0, 0.7) for task in ("rte", "cola")]
    shuffled = make("mrpc", "lora", 0, 0.7)
    shuffled.config["data"]["shuffle_labels"] = True
    assert shuffled.phases
    shuffled.phases = [dataclasses.replace(phase, train_seconds=9e9) for phase in shuffled.phases]
    points = [
        points_of(shown, next(column for column in shown.columns if column.is_average), "seconds")
        for shown in (table(records), table([*records, shuffled]))
    ]
    assert points[0] == points[1] != []


def test_settings_in_which_rows_differ_are_said(make: Make) -> None:
    records = [make("rte", method, 0, 0.7) for method in ("full", "lora", "adalora", "autolora")]
    assert not any("otherwise" in note for note in table(records).footnotes)
    records[1].config["train"]["epochs"] = 30
    assert "Trained otherwise, RTE: train.epochs 30 (LoRA), 3 (the others)." in table(records).footnotes
    other = make("cola", "lora", 0, 0.5)
    other.config["method"]["rank"] = 64
    assert "LoRA: method.rank 8 (RTE), 64 (CoLA)." in table([*records, other]).footnotes


def test_records_that_state_other_units_of_a_metric_are_warned_of(make: Make) -> None:
    records = [make("rte", "lora", seed, {"accuracy": 0.7, "own": 0.7}) for seed in (0, 1)]
    stated = [{"own": {"published_scale": 100}}, {"own": {"published_scale": 1}}]
    for both, said in ((stated, 1), (stated[:1] * 2, 0)):
        for record, metrics in zip(records, both, strict=True):
            record.headline = "own"
            record.metrics = {"own": True}
            record.provenance["metrics"] = metrics
        shown = table(records, metrics="all")
        assert sum("other units or directions" in line for line in warnings_of(shown)) == said


def test_rows_of_two_methods_never_have_one_label(make: Make) -> None:
    records = [make("rte", "lora", 0, 0.7), make("rte", "lora4", 0, 0.7), make("rte", "adalora", 0, 0.7)]
    records[2].method = "mine"
    records[2].provenance["method"] = {"title": "LoRA, rank 8"}
    labels = [row.label for row in table(records).rows]
    assert sorted(labels) == ["LoRA, rank 4", "LoRA, rank 8 (lora)", "LoRA, rank 8 (mine)"]


def test_runs_that_started_from_other_weights_are_warned_of(make: Make) -> None:
    records = [make("rte", "lora", seed, 0.7) for seed in range(3)]
    for record, digest in zip(records, ("aa", "aa", "bb"), strict=True):
        record.inputs["pretrained model"] = {"config.json": str(record.seed), "model.safetensors": digest}
    (said,) = warnings_of(table(records))
    assert "2 different pretrained models of this name (model.safetensors: LoRA aa; LoRA bb)" in said
    records[2].inputs["pretrained model"] = {"commit": "1234", "vocab.txt": "ff"}
    assert not warnings_of(table(records)), "a hub's commit is not comparable with files"
    records[1].inputs["pretrained model"] = {"commit": "4321"}
    assert "commit: LoRA 4321; LoRA 1234" in warnings_of(table(records))[0]


def test_a_strangers_record_is_reported_whatever_its_facts_are(make: Make) -> None:
    records = [make("rte", "lora", seed, 0.7) for seed in range(4)]
    records[0].provenance["before"] = [{"commit": ["x"], "threads": {}}, "x", {"processes": []}]
    records[1].provenance["before"] = {"commit": "x"}
    records[2].config["train"]["accumulation"] = None
    records[3].inputs = {"pretrained model": {"model.safetensors": ["aa"], "commit": None}}
    records[3].config["method"] |= {"name": "fim", "cell": ["x"]}
    records[3].config["train"]["accumulation"] = [1]
    shown = table(records)
    assert any("begun by" in note for note in shown.footnotes)
    assert warnings_of(shown) == []


def test_a_control_of_a_run_that_was_made_again_is_warned_of(make: Make) -> None:
    reference, control = make("rte", "lora", 0, 0.7), make("rte", "uniform", 0, 0.7)
    control.config["method"]["cell"] = f"rte/roberta_base/lora-{reference.config_id}"
    for record, rank in ((reference, 3), (control, 3)):
        record.ranks = [dataclasses.replace(layer, rank=rank) for layer in record.ranks]
    assert not warnings_of(table([reference, control]))
    reference.ranks[0] = dataclasses.replace(reference.ranks[0], rank=5)
    (said,) = warnings_of(table([reference, control]))
    assert said.startswith("WARNING uniform: its total rank is not that of the run")
    assert "rte, seed 0: 24 and 26" in said


@pytest.mark.parametrize(
    ("splits", "variants"),
    [
        (["validation"], [""]),
        (["validation", "validation_mismatched"], ["matched", "mismatched"]),
        (["validation", "validation_hard"], ["", "hard"]),
        (["dev", "hard"], ["dev", "hard"]),
        (["test_hard", "dev_hard"], ["test_hard", "dev_hard"]),
        (["validation", "validation_hard", "hard"], ["validation", "validation_hard", "hard"]),
    ],
)
def test_two_splits_never_have_one_heading(make: Make, splits: list[str], variants: list[str]) -> None:
    record = make("rte", "lora", 0, 0.7)
    record.config["task"]["evaluation"] = splits
    shown = table([record])
    assert [column.split for column in shown.columns] == splits
    assert [column.subtitle for column in shown.columns] == [f"accuracy {one}".strip() for one in variants]


def test_a_metric_that_was_not_asked_for_is_not_undefined(make: Make) -> None:
    records = [
        make("rte", "lora", 0, {"accuracy": 0.7, "own": 0.4}),
        make("rte", "full", 0, {"accuracy": 0.7}),
    ]
    records += [make("rte", "adalora", 0, {"accuracy": 0.7, "own": None})]
    for record in records:
        record.metrics |= {"own": True}
        record.provenance["metrics"] = {"own": {"published_scale": 100, "title": "my own"}}
    records[1].provenance.pop("metrics")
    shown = table(records, metrics="all")
    column = next(column for column in shown.columns if column.score == "own")
    assert column.subtitle == "my own"
    states = {row.method: row.cells[column].state for row in shown.rows if row.cells[column].mean is None}
    assert states == {"full": "--", "adalora": "undefined"}
    assert [note for note in shown.footnotes if "not defined" in note] == [
        "AdaLoRA, RTE my own: not defined for seed 0."
    ]
    assert not warnings_of(shown)


def test_what_only_some_runs_were_scored_on_hides_no_others(make: Make) -> None:
    """A test split that one method's runs have and another's have not, in whatever order they are read."""
    records = [make("webnlg", method, seed, 0.5) for method in ("lora", "full") for seed in range(2)]
    for record in records[2:]:
        record.test = {}
    for order in (records, records[::-1]):
        (shown,) = tables_of(frames_of(runs_of(order, None)[0]), epoch="best", metrics="headline", title="T")
        (column,) = (one for one in shown.columns if one.headline)
        assert column.split == "validation"
        assert [row.cells[column].n for row in shown.rows] == [2, 2]
