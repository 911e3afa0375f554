"""One cell from start to record: phases, resume, failure, skip."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora_bench import cli, devices
from autolora_bench.commands import launch
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig, run_folder
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.record import RunRecord, Status, read_record
from autolora_bench.report.runs import hardware
from autolora_bench.rerun import decide
from autolora_bench.runner import run_experiment

pytestmark = pytest.mark.usefixtures("own_cache")

SMALL = [
    "data=generated",
    "data.limit=32",
    "data.limit_evaluation=16",
    "train.epochs=2",
    "train.batch_size=8",
    "device=cpu",
]


def words(tiny_encoder: Path, results: Path, *more: str) -> list[str]:
    return ["task=rte", "model=any", f"model.checkpoint={tiny_encoder}", *SMALL, f"results={results}", *more]


def experiment(*overrides: str) -> ExperimentConfig:
    with composer():
        return to_experiment(compose_config(list(overrides)))


def run(tiny_encoder: Path, results: Path, *more: str, earlier: RunRecord | None = None) -> RunRecord:
    cell = experiment(*words(tiny_encoder, results, *more))
    return run_experiment(cell, run_folder(cell), "autolora-bench ...", earlier)


def test_autolora_searches_thresholds_retrains_and_records(tiny_encoder: Path, tmp_path: Path) -> None:
    record = run(tiny_encoder, tmp_path, "method=autolora", "method.search.components=4")
    assert record.status is Status.completed, record.error
    assert [phase.name for phase in record.phases] == ["search", "threshold", "retrain", "evaluate"]
    assert (
        read_record(
            run_folder(
                experiment(*words(tiny_encoder, tmp_path, "method=autolora", "method.search.components=4"))
            )
            / "run.json"
        )
        == record
    )
    assert len(record.ranks) == 4
    assert all(1 <= layer.rank <= 4 for layer in record.ranks)
    assert [e.epoch for e in record.history] == [1, 2]
    assert record.history[-1].examples == 16
    assert record.parameters is not None
    assert record.parameters.method == sum(layer.rank for layer in record.ranks) * 2 * 32
    assert record.phase("search").examples == 2 * 2 * 16  # type: ignore[union-attr]
    assert record.phase("search").details["diagnostics"][0]["step"] == 1  # type: ignore[union-attr]
    assert record.data["splits"] == {"train": 32, "validation": 16}


def test_the_best_epoch_is_kept_and_its_predictions_score_the_same(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    cell = experiment(
        *words(tiny_encoder, tmp_path, "method=full", "method.learning_rate=3e-3", "train.epochs=4")
    )
    folder = run_folder(cell)
    record = run_experiment(cell, folder, "", None)
    best = max(e.scores["accuracy"] or 0 for e in record.history)
    assert record.best["validation"].scores["accuracy"] == best
    predictions = [
        json.loads(line) for line in (folder / "evaluate" / "validation.jsonl").read_text().splitlines()
    ]
    from autolora_bench.data.load import load_data

    labels = load_data(cell.task, cell.data).splits["validation"]["label"]
    names = cell.task.labels  # type: ignore[attr-defined]
    right = sum(names.index(p) == y for p, y in zip(predictions, labels, strict=True))
    assert right / len(predictions) == pytest.approx(best)


def test_an_interrupted_retrain_goes_on_without_a_second_search(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("method=autolora", "method.search.components=4", "data.limit=16", "train.epochs=1")
    whole = run(tiny_encoder, tmp_path / "whole", *options)
    cell = experiment(*words(tiny_encoder, tmp_path / "cut", *options))
    folder = run_folder(cell)
    train = FinetunePhase.run

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FinetunePhase, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(cell, folder, "", None)
    cut = read_record(folder / "run.json")
    assert cut.status is Status.interrupted
    cut.provenance |= {"processor": "another", "commit": "1234"}
    del cut.provenance["microarchitecture"]  # as in records of an earlier version
    searched = (folder / "search" / "selection.json").stat().st_mtime_ns
    monkeypatch.setattr(FinetunePhase, "run", train)
    resumed = run_experiment(cell, folder, "", cut)
    assert (folder / "search" / "selection.json").stat().st_mtime_ns == searched
    assert resumed.status is Status.completed
    assert resumed.ranks == whole.ranks
    assert [e.scores for e in resumed.history] == [e.scores for e in whole.history]
    assert resumed.provenance["before"] == [{"commit": "1234", "processor": "another"}]
    assert "before" not in whole.provenance
    assert hardware(resumed) == f"{hardware(whole)}, begun elsewhere"


def test_a_failure_is_a_record(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(FinetunePhase, "run", broken)
    record = run(tiny_encoder, tmp_path, "method=lora")
    assert record.status is Status.failed
    assert record.error is not None
    assert record.error["message"] == "RuntimeError: planted"
    assert "broken" in record.error["traceback"]
    assert [phase.status for phase in record.phases] == [Status.failed]


def test_a_sweep_goes_on_after_a_failure_and_says_so(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "runs"
    bad = ["method.rank=1,2", "method=lora", "-m", "method.learning_rate=1e-3"]
    line = [*bad, *words(tiny_encoder, results, "train.max_steps=1")]
    train = FinetunePhase.run

    def half_broken(phase: FinetunePhase, context: Any) -> Any:
        if context.experiment.method.rank == 1:
            raise RuntimeError("planted")
        return train(phase, context)

    monkeypatch.setattr(FinetunePhase, "run", half_broken)
    assert cli.run(line) == 1
    said = capsys.readouterr().err
    assert "1 completed, 1 failed" in said
    assert "method.rank=1" in said
    monkeypatch.setattr(FinetunePhase, "run", train)
    assert cli.run(line) == 0
    assert "1 of 2 runs to do, 1 done before" in capsys.readouterr().err
    ran: list[object] = []
    monkeypatch.setattr(launch, "sweep", lambda words, job: ran.append(words))
    assert cli.run(line) == 0
    assert ran == []


@pytest.mark.parametrize(
    ("policy", "status", "wanted"),
    [
        ("missing", None, True),
        ("missing", Status.completed, False),
        ("missing", Status.failed, True),
        ("missing", Status.interrupted, True),
        ("failed", None, False),
        ("failed", Status.failed, True),
        ("failed", Status.completed, False),
        ("never", None, True),
        ("never", Status.failed, False),
        ("all", Status.completed, True),
    ],
)
def test_rerun_policies(policy: str, status: Status | None, wanted: bool, tmp_path: Path) -> None:
    from autolora_bench.config.experiment import config_id, experiment_identity
    from autolora_bench.record import write_record

    cell = experiment("data=generated", f"results={tmp_path}", f"rerun={policy}")
    folder = run_folder(cell)
    if status is not None:
        identity = (cell.task.name, cell.model.name, cell.method.name, config_id(cell), cell.seed)
        write_record(folder, RunRecord(*identity, status, experiment_identity(cell), "autolora-bench"))
    assert decide(cell, folder).run is wanted


def test_a_completed_record_is_not_given_up_for_a_run_that_cannot_start(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are gone, or its device, on a machine that has none."""
    weights = Path(shutil.copytree(tiny_encoder, tmp_path / "weights"))
    line = words(weights, tmp_path / "runs", "method=lora", "train.max_steps=1")
    assert cli.run(line) == 0
    [record] = (tmp_path / "runs").rglob("run.json")
    before = {path: path.read_bytes() for path in record.parent.rglob("*") if path.is_file()}
    for device in ["cpu", *([] if torch.cuda.is_available() else ["cuda"])]:
        if device == "cpu":
            weights.rename(tmp_path / "elsewhere")
        assert cli.run([*line, "rerun=all", f"device={device}"]) == 2
        assert "not run again" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in before} == before
        if device == "cpu":
            (tmp_path / "elsewhere").rename(weights)
    written = record.stat().st_mtime_ns
    assert cli.run([*line, "rerun=all"]) == 0
    assert record.stat().st_mtime_ns > written


def test_a_record_of_another_configuration_is_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    record = run(tiny_encoder, tmp_path, "method=lora", "train.max_steps=1")
    cell = experiment(*words(tiny_encoder, tmp_path, "method=lora", "train.max_steps=1"))
    path = run_folder(cell) / "run.json"
    values = json.loads(path.read_text())
    values["config"]["train"]["epochs"] = 99
    path.write_text(json.dumps(values))
    assert record.status is Status.completed
    assert cli.run(words(tiny_encoder, tmp_path, "method=lora", "train.max_steps=1")) == 2


def test_other_data_in_another_folder_is_not_mistaken_for_a_completed_run(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    rows = "index\tsentence1\tsentence2\tlabel\n" + "".join(
        f"{n}\tAnna went to Rome\tAnna is in Rome\t{'entailment' if n % 2 else 'not_entailment'}\n"
        for n in range(8)
    )
    for name, text in {"a": rows, "b": rows, "c": rows.replace("Anna", "Otto")}.items():
        (tmp_path / name / "glue" / "RTE").mkdir(parents=True)
        for split in ("train", "dev"):
            (tmp_path / name / "glue" / "RTE" / f"{split}.tsv").write_text(text)
    base = [
        "task=rte",
        "method=lora",
        "model=any",
        f"model.checkpoint={tiny_encoder}",
        "data=local",
        "device=cpu",
    ]

    def line(name: str) -> list[str]:
        return [*base, f"data.dir={tmp_path / name}", f"results={tmp_path / 'runs'}", "train.max_steps=1"]

    assert cli.run(line("a")) == 0
    assert not decide(experiment(*line("a")), run_folder(experiment(*line("a")))).run
    same = decide(experiment(*line("b")), run_folder(experiment(*line("b"))))
    assert not same.run
    assert same.problem is None
    other = decide(experiment(*line("c")), run_folder(experiment(*line("c"))))
    assert not other.run
    assert other.problem is not None
    assert "other files" in other.problem.what
    assert cli.run(line("c")) == 2


def test_starting_afresh_leaves_nothing_of_the_attempt_before(tiny_encoder: Path, tmp_path: Path) -> None:
    cell = experiment(*words(tiny_encoder, tmp_path, "method=lora", "train.max_steps=1"))
    folder = run_folder(cell)
    stale = folder / "finetune" / "checkpoints" / "checkpoint-1"
    stale.mkdir(parents=True)
    (stale / "WHOLE").touch()
    assert run_experiment(cell, folder, "", None).status is Status.completed


def test_memory_that_an_earlier_run_has_freed_is_not_this_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cpu = torch.device("cpu")
    if not devices.reset_peak_memory(cpu):
        pytest.skip("the kernel resets no peak")
    before = devices.peak_memory(cpu)
    assert before is not None
    small = [torch.ones(4096) for _ in range(10_000)]  # 160 MB, in blocks that the allocator keeps
    kept = torch.ones(4096)  # after them, so that its heap does not shrink by itself
    del small
    large = devices.peak_memory(cpu)
    assert large is not None
    assert large > before + 120e6
    assert devices.reset_peak_memory(cpu)
    again = devices.peak_memory(cpu)
    assert again is not None
    assert again < before + 40e6
    assert float(kept[0]) == 1
    monkeypatch.setattr(devices, "CLEAR_REFS", tmp_path / "none" / "clear_refs")
    assert not devices.reset_peak_memory(cpu)
