"""The frames that every table is made of, and the same as a user gets them."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

import autolora_bench
from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord, Status, write_record
from autolora_bench.report.collect import collect
from autolora_bench.report.frames import frames_of
from autolora_bench.report.prepared import prepare
from autolora_bench.report.runs import runs_of

Make = Callable[..., RunRecord]
RECORDS = Path(__file__).parents[2] / "results" / "records"


def test_a_score_is_a_line_in_the_unit_that_papers_print(make: Make, tmp_path: Path) -> None:
    write_record(tmp_path / "a", make("rte", "lora", 3, 0.8))
    write_record(tmp_path / "b", make("webnlg", "autolora", 0, {"bleu": 0.5, "meteor": None, "ter": 0.4}))
    write_record(tmp_path / "c", make("rte", "full", 0, status=Status.failed))
    found = autolora_bench.load_results(tmp_path)
    (best,) = found.query("task == 'rte' and epoch == 'best'").to_dict("records")
    assert (best["method"], best["title"], best["seed"], best["split"]) == ("lora", "LoRA", 3, "validation")
    assert best["value"] == pytest.approx(80.0)
    assert (best["parameters"], best["total"], best["peak"]) == (294_912, 35.0, 2_000_000_000)
    last = found.query("task == 'rte' and epoch == 'last'")["value"].item()
    assert last == pytest.approx(79.0), "made a point worse in the last epoch"
    kept = found.query("task == 'webnlg' and epoch == 'kept'").set_index("metric")
    assert kept.loc["bleu/seen", "value"] == pytest.approx(60.0)
    assert kept["value"].isna().to_dict()["meteor"]
    assert kept.loc["bleu", "search"] == 66.0
    assert set(found["method"]) == {"lora", "autolora"}


def test_the_frame_gives_the_means_of_the_committed_tables() -> None:
    """Mean, deviation and number of seeds by pandas alone, against the cells of the report."""
    found = autolora_bench.load_results(RECORDS)
    stats = found.groupby(["model", "title", "task", "split", "metric", "epoch"])["value"].agg(
        ["mean", "std", "count"]
    )
    cells = 0
    for table in prepare(collect(RECORDS)).tables:
        for row in table.rows:
            for column, cell in row.cells.items():
                if cell.mean is not None and not column.is_average:
                    key = (table.model, row.label, column.task, column.split, column.score, column.epoch)
                    assert stats.loc[key, "mean"] == pytest.approx(cell.mean)
                    assert stats.loc[key, "count"] == cell.n
                    assert (cell.std is None) or stats.loc[key, "std"] == pytest.approx(cell.std)
                    cells += 1
    assert cells > 40


def test_titles_are_those_of_the_reports_rows_where_rates_were_tuned(make: Make, tmp_path: Path) -> None:
    """Each rank of LoRA has a rate of its own, which no row is told apart by: tuning chose it."""
    records = []
    for method, chosen in (("lora", 1e-3), ("lora4", 3e-3)):
        for rate in (1e-3, 3e-3):
            records.append(make("rte", method, 100, 0.7 if rate == chosen else 0.6))
            records[-1].config["data"]["held_out"] = 0.1
            records[-1].config["method"]["learning_rate"] = rate
        records += [make("rte", method, seed, 0.7) for seed in (0, 1)]
        for one in records[-2:]:
            one.config["method"]["learning_rate"] = chosen
    for number, one in enumerate(records):
        one.config_id = sha256(json.dumps(one.config, sort_keys=True).encode()).hexdigest()[:8]
        write_record(tmp_path / str(number), one)
    (shown,) = prepare(collect(tmp_path)).tables
    found = autolora_bench.load_results(tmp_path)
    assert (
        set(found[~found["held_out"]]["title"])
        == {row.label for row in shown.rows}
        == {"LoRA, rank 4", "LoRA, rank 8"}
    )
    assert len(found[found["held_out"]]["config_id"].unique()) == 4


def test_every_run_has_a_place_and_every_cost_a_run(make: Make) -> None:
    records = [make(task, "lora", seed, 0.5) for task in ("rte", "cola") for seed in (0, 1)]
    records.append(make("rte", "full", 0, status=Status.failed))
    frames = frames_of(runs_of(records, None)[0])
    assert len(frames.runs) == 5
    assert frames.costs.index.tolist() == [0, 1, 2, 3]
    assert frames.runs["title"].tolist() == ["LoRA"] * 4 + ["Full fine-tuning"]


def test_no_record_is_an_empty_frame_and_no_folder_an_error(tmp_path: Path) -> None:
    assert autolora_bench.load_results(tmp_path).empty
    with pytest.raises(UserError, match="there is no folder"):
        autolora_bench.load_results(tmp_path / "none")
