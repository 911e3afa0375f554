"""report, stability and status as a user calls them."""

import json
from pathlib import Path

import pytest

from autolora_bench import cli
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import config_id, experiment_identity
from autolora_bench.paths import run_folder
from autolora_bench.record import Evaluation, Parameters, PhaseRecord, RunRecord, Status, write_record

MODULES = ["layer.0.query", "layer.0.value"]


def a_run(results: Path, method: str, seed: int, score: float, task: str = "rte") -> Path:
    """Write the record, and for a search its artefacts, that a completed run would leave."""
    words = [f"task={task}", f"method={method}", "data=generated", f"seed={seed}", f"results={results}"]
    with composer():
        cell = to_experiment(compose_config(words))
    scored = Evaluation("finetune", "validation", 1.0, 10, {"accuracy": score}, 128)
    identity = (task, cell.model.name, method, config_id(cell), seed)
    record = RunRecord(*identity, Status.completed, experiment_identity(cell), "autolora-bench")
    record.headline, record.metrics = "accuracy", {"accuracy": True}
    record.best, record.last, record.history = {"validation": scored}, {"validation": scored}, [scored]
    record.parameters = Parameters(100, 30, 10)
    record.data = {"source": "generated", "splits": {"validation": 128}}
    artefacts = {"search": "search/selection.json", "threshold": "threshold/ranks.json"}
    if method == "autolora":
        record.phases = [PhaseRecord(n, Status.completed, artefact=path) for n, path in artefacts.items()]
    folder = run_folder(cell)
    write_record(folder, record)
    if method == "autolora":
        alpha = [[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]
        (folder / "search").mkdir()
        (folder / "threshold").mkdir()
        selection = {"modules": MODULES, "beta": alpha, "alpha": alpha}
        (folder / "search" / "selection.json").write_text(json.dumps(selection))
        kept = {name: [value >= 0.25 for value in row] for name, row in zip(MODULES, alpha, strict=True)}
        (folder / "threshold" / "ranks.json").write_text(json.dumps({"kept": kept}))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for seed, score in enumerate((0.5, 0.75)):
        a_run(folder, "lora", seed, score)
        a_run(folder, "autolora", seed, score)
    a_run(folder, "lora", 0, 0.25, task="sst2")
    return folder


def out(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.run(list(words)) == 0
    return capsys.readouterr().out


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]


def test_report_shows_mean_and_deviation_of_what_is_there(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = rows(out(capsys, "report", f"results={results}"))
    assert any("RTE" in cell for cell in table[0])
    assert any("SST-2" in cell for cell in table[0])
    lora = next(row for row in table if row[0] == "lora")
    assert any(cell.startswith("62.50 ± 17.68") for cell in lora)


def test_task_and_method_choose_among_the_records(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "report", f"results={results}", "task=rte", "method=autolora")
    assert "SST-2" not in text
    assert [row[0] for row in rows(text)[2:]] == ["autolora"]


def test_settings_say_what_was_meant_to_be_run_and_what_is_missing(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "task=rte", "method=lora", "seed=0,1,2", "data=generated", f"results={results}"]
    text = out(capsys, "report", *words)
    assert "seed=2" in text
    assert "1 missing" in out(capsys, "status", *words)


def test_other_peoples_records_are_merged(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_run(tmp_path / "theirs", "full", 0, 0.875)
    assert "full" not in [row[0] for row in rows(out(capsys, "report", f"results={results}"))]
    merged = out(capsys, "report", f"results={results}", f"merge={tmp_path / 'theirs'}")
    assert "full" in [row[0] for row in rows(merged)]


def test_out_writes_every_format(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = out(capsys, "report", f"results={results}", f"out={tmp_path / 'page'}").split()
    for name in ("report.html", "scores.md", "scores.csv", "scores.tex"):
        assert str(tmp_path / "page" / name) in listed
        assert (tmp_path / "page" / name).stat().st_size > 0


def test_stability_of_equal_searches_is_perfect(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, _, row = rows(out(capsys, "stability", f"results={results}", "task=rte"))
    found = dict(zip(head, row, strict=True))
    assert found["seeds"] == "2"
    assert found["total rank"].startswith("4")


def test_nothing_to_report_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", f"results={tmp_path / 'none'}"]) == 2
    assert "results=DIR" in capsys.readouterr().err
