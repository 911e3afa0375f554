"""Every cell is one named run of each tracker, through its phases and attempts, and its files stay."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
from transformers import TrainerState

from autolora_bench import cli
from autolora_bench.config.trackers import TRACKERS
from autolora_bench.errors import UserError
from autolora_bench.record import find_records, read_record
from autolora_bench.training.checkpoints import CheckpointPolicy
from autolora_bench.training.trackers import Cell, Trackers, Trackio
from autolora_bench.training.trackers import _begin as begin

SMALL = (
    "task=rte",
    "data=generated",
    "data.limit=16",
    "data.limit_evaluation=4",
    "train.epochs=2",
    "train.batch_size=8",
    "train.log_steps=1",
    "model=any",
    "device=cpu",
)


def line(model: Path, folder: Path, tracker: str, *more: str) -> list[str]:
    return [*SMALL, f"model.checkpoint={model}", f"results={folder}", f"train.trackers=[{tracker}]", *more]


def interrupted_once(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """A checkpoint after `step` steps, Ctrl-C after the next."""
    on_step_end = CheckpointPolicy.on_step_end
    done: list[int] = []

    def interrupt(self: CheckpointPolicy, args: Any, state: Any, control: Any, **more: Any) -> Any:
        control = on_step_end(self, args, state, control, **more)
        control.should_save |= state.global_step == step
        if state.global_step == step + 1 and not done:
            done.append(step)
            raise KeyboardInterrupt
        return control

    monkeypatch.setattr(CheckpointPolicy, "on_step_end", interrupt)


def scalars(folder: Path) -> dict[str, list[int]]:
    """Tag -> steps of what TensorBoard shows of a folder of event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [event.step for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_keeps_every_phase_of_a_run_that_was_interrupted(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    words = line(tiny_encoder, tmp_path, "tensorboard", "method=autolora", "method.search.batch_size=8")
    words.append("method.search.diagnose_steps=[]")
    with monkeypatch.context() as patch:
        interrupted_once(patch, step=2)
        assert cli.run([*words, "train.epochs=3"]) == 130
    assert cli.run([*words, "train.epochs=3"]) == 0
    [record] = find_records(tmp_path)
    folders = list((record.parent / "trackers").glob("*/tensorboard/*"))
    assert {folder.name for folder in folders} == {"run", "search", "retrain"}
    found = {folder.name: scalars(folder) for folder in folders}
    assert found["search"]["search/loss"] == [1, 2, 3]
    assert found["retrain"]["retrain/loss"] == [1, 2, 3, 4, 5, 6]
    assert found["retrain"]["retrain/validation_accuracy"] == [2, 4, 6]
    assert "best/validation/accuracy" in found["run"]
    assert not list(record.parent.rglob("checkpoint-*"))


@pytest.mark.slow
def test_weights_and_biases_gets_a_named_run_for_each_cell(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    words = line(tiny_encoder, tmp_path / "runs", "wandb", "method=lora", "train.epochs=1")
    assert cli.run(["-m", *words, "seed=0,1"]) == 0
    kept = [path.read_bytes() for path in sorted((tmp_path / "runs").rglob("run-*.wandb"))]
    for seed in (0, 1):
        [data] = [one for one in kept if f"rte/lora/seed{seed}".encode() in one]
        for part in ("seed=0,1", "method.rank", "finetune/loss", "best/validation/accuracy"):
            assert part.encode() in data
    assert len(kept) == 2
    assert not (tmp_path / "wandb").exists()
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_symlink()]


def test_mlflow_goes_on_with_the_run_of_the_attempt_before(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    words = line(tiny_encoder, tmp_path, "mlflow", "method=lora")
    with monkeypatch.context() as patch:
        interrupted_once(patch, step=2)
        assert cli.run(words) == 130
    assert cli.run(words) == 0
    [place] = tmp_path.rglob("trackers/*/mlflow")
    client = mlflow.MlflowClient(tracking_uri=place.as_uri())
    experiment = client.get_experiment_by_name("autolora-bench")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "rte/lora/seed0"
    assert run.info.status == "FINISHED"
    assert run.data.params["method.rank"] == "4"
    assert run.data.params["seed"] == "0"
    [path] = find_records(tmp_path)
    record = read_record(path)
    assert run.data.metrics["best/validation/accuracy"] == record.best["validation"].scores["accuracy"]
    assert run.data.metrics["parameters/trainable"] == record.parameters.trainable  # type: ignore[union-attr]
    told = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    steps = {name: [metric.step for metric in history] for name, history in told.items()}
    assert steps["finetune/loss"] == steps["finetune/grad_norm"] == [1, 2, 3, 4]
    assert steps["finetune/validation_accuracy"] == [2, 4]
    scores = [evaluation.scores["accuracy"] for evaluation in record.history]
    assert [metric.value for metric in told["finetune/validation_accuracy"]] == scores


PATTERNS = {
    r"method.settings.rank_pattern.^bert\.encoder\.layer\.0\..*query$": 2,
    r"method.settings.rank_pattern.^bert\.encoder\.layer\.0\..+query$": 4,
    f"method.settings.alpha_pattern.({'|'.join(['layer.0'] * 40)})": 8,
    f"method.settings.alpha_pattern.({'|'.join(['layer.0'] * 41)})": 16,
    "method.settings.rank_pattern./a//b/../c/": 1,
    "method.settings.r": 3,
}


def mlflow_runs(folder: Path) -> list[Any]:
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=(folder / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("autolora-bench")
    found: list[Any] = list(client.search_runs([experiment.experiment_id]))
    return found


def test_mlflow_takes_settings_by_whatever_names_peft_does(tmp_path: Path) -> None:
    """MLflow refuses letters, lengths and paths; each setting has its value under a name of its own."""
    pytest.importorskip("mlflow")
    tracker = begin("mlflow", Cell("rte/peft_lora/seed0", None, "abc", tmp_path, PATTERNS))
    tracker.begin_phase("finetune", 0)
    tracker.log("finetune", 1, {"finetune/validation_recall@5": 0.25, "finetune/validation_recall_5": 0.5})
    tracker.finish({}, True)
    [run] = mlflow_runs(tmp_path)
    assert sorted(run.data.params.values()) == sorted(str(value) for value in PATTERNS.values())
    assert run.data.params["method.settings.r"] == "3"
    assert sorted(run.data.metrics.values()) == [0.25, 0.5]


def test_mlflow_states_what_a_beginning_that_failed_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    cell = Cell("rte/lora/seed0", None, "abc", tmp_path, {"train.epochs": 2, "seed": 0})
    log_param = mlflow.MlflowClient.log_param

    def broken(self: Any, run_id: str, key: str, value: str) -> Any:
        if key == "seed":
            raise ValueError("the first line\n" + "another line\n" * 30)
        return log_param(self, run_id, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_param", broken)
        with pytest.raises(UserError) as refused:
            begin("mlflow", cell)
    assert "mlflow cannot begin: ValueError: the first line another line" in refused.value.what
    assert len(refused.value.what.splitlines()) == 1
    [run] = mlflow_runs(tmp_path)
    assert run.info.status == "FAILED"
    begin("mlflow", cell)
    [run] = mlflow_runs(tmp_path)
    assert (run.info.status, run.data.params) == ("RUNNING", {"train.epochs": "2", "seed": "0"})


def test_mlflow_is_told_all_again_where_its_run_is_gone(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    cell = Cell("rte/lora/seed0", None, "abc", tmp_path, {"seed": 0})
    for _ in range(2):
        tracker = begin("mlflow", cell)
        tracker.begin_phase("finetune", 0)
        tracker.log("finetune", 1, {"finetune/loss": 0.5})
        [run] = mlflow_runs(tmp_path)
        assert run.data.metrics == {"finetune/loss": 0.5}
        mlflow.MlflowClient(tracking_uri=(tmp_path / "mlflow").as_uri()).delete_run(run.info.run_id)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_history_that_only_grows_has_every_step_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, float]] = []
    stub: Any = MagicMock()
    stub.log = stub.init.return_value.log = rows.append
    monkeypatch.setitem(sys.modules, name, stub)
    cell = Cell("rte/lora/seed0", None, "abc", tmp_path, {})
    for first, last in ((1, 5), (4, 6)):  # stopped after step 5, with a checkpoint after step 3
        tracker = begin(name, cell)
        tracker.begin_phase("search", first - 1)
        for step in range(first, last + 1):
            tracker.log("search", step, {"search/loss": step / 10})
            if step == 5:
                tracker.log("search", step, {"search/validation_accuracy": 0.5})
    tracker.begin_phase("retrain", 0)
    tracker.log("retrain", 1, {"retrain/loss": 0.7})
    assert [row["search/loss"] for row in rows if "search/loss" in row] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert [row["search/step"] for row in rows if "search/validation_accuracy" in row] == [5]
    assert rows[-1] == {"retrain/step": 1, "retrain/loss": 0.7}


def test_a_phase_that_memory_makes_begin_again_is_told_from_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, float]] = []
    monkeypatch.setitem(sys.modules, "trackio", MagicMock(log=rows.append))
    trackers = Trackers({"trackio": begin("trackio", Cell("rte/lora/seed0", None, "abc", tmp_path, {}))})
    for loss, last in ((0.5, 2), (0.25, 3)):
        callback, state = trackers.callback("finetune"), TrainerState()
        callback.on_train_begin(None, state, None)  # type: ignore[arg-type]
        for state.global_step in range(1, last + 1):
            callback.on_log(None, state, None, {"loss": loss})  # type: ignore[arg-type,call-arg]
    assert [row["finetune/loss"] for row in rows] == [0.5, 0.5, 0.25]


def test_a_run_that_starts_afresh_is_another(tiny_encoder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    words = line(tiny_encoder, tmp_path, "tensorboard", "method=lora", "train.epochs=1")
    assert cli.run(words) == 0
    [identity] = tmp_path.rglob("trackers/id.txt")
    first = identity.read_text()
    assert cli.run([*words, "rerun=all"]) == 0
    assert identity.read_text() != first


@pytest.mark.parametrize("command", [["check"], []])
def test_a_tracker_that_is_not_installed_is_named_before_anything_runs(
    command: list[str],
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "no_such_package").mkdir()  # a folder of that name is no package
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(TRACKERS, "trackio", "no_such_package")
    assert cli.run([*command, *line(tiny_encoder, tmp_path / "runs", "trackio", "method=lora")]) == 2
    said = capsys.readouterr()
    assert "trackio, which is not installed" in said.out + said.err
    assert "pip install 'autolora-bench[trackio]'" in said.out + said.err
    assert not list(tmp_path.rglob("run.json"))


def test_what_trackio_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    stub = ModuleType("trackio")
    stub.init = lambda **options: told.append(options)  # type: ignore[attr-defined]
    stub.log = lambda values: told.append(values)  # type: ignore[attr-defined]
    stub.finish = lambda: told.append("finish")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", stub)
    tracker = Trackio(Cell("rte/lora/seed0", "suite", "abc", tmp_path, {"seed": 0}))
    tracker.log("finetune", 3, {"finetune/loss": 0.5})
    tracker.finish({"best/validation/accuracy": 0.7}, True)
    assert told[0]["name"] == "rte/lora/seed0 abc"
    assert told[0]["group"] == "suite"
    assert told[0]["resume"] == "allow"
    assert told[1:] == [
        {"finetune/step": 3, "finetune/loss": 0.5},
        {"best/validation/accuracy": 0.7},
        "finish",
    ]


def test_a_tracker_that_fails_ends_no_training(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def begin_phase(self, phase: str, step: int) -> None:
            raise ConnectionError("no\nroute" + " " + "x" * 1000)

    trackers = Trackers({"wandb": Broken()})  # type: ignore[dict-item]
    trackers.tell(lambda tracker: tracker.begin_phase("finetune", 0))
    assert trackers.begun == {}
    [told] = capsys.readouterr().err.splitlines()
    assert "wandb is left out from here on: ConnectionError: no route" in told
    assert len(told) < 250
