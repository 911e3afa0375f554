"""Sweeps on real launchers, as a user starts them: a job that fails stops no other and is not hidden."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins

from autolora_bench import cli
from autolora_bench.record import Status, find_records, read_record

FAILING = "1e+30"
"""A learning rate at which the loss is no number in the second step."""
SMALL = [
    "task=sst2",
    "model=any",
    "data=generated",
    "data.limit=32",
    "data.limit_evaluation=16",
    "device=cpu",
    "method=lora",
    "train.epochs=1",
    "train.batch_size=8",
    "train.warmup=0.0",
    "~recipe",
    "~cell",
]
LAUNCHERS = {
    "basic": ("hydra", []),
    "joblib": ("hydra_plugins.hydra_joblib_launcher", ["hydra.launcher.n_jobs=2"]),
    "ray": ("hydra_plugins.hydra_ray_launcher", ["+hydra.launcher.ray.init.num_cpus=2"]),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", ["hydra.launcher.timeout_min=10"]),
}


def line(encoder: Path, results: Path, *more: str) -> list[str]:
    return [*SMALL, f"model.checkpoint={encoder}", f"results={results}", *more]


@pytest.fixture(autouse=True)
def _one_thread(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "autolora_bench", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)


def written(results: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in find_records(results)}


@pytest.mark.parametrize(
    "launcher", ["basic", *(pytest.param(name, marks=pytest.mark.slow) for name in list(LAUNCHERS)[1:])]
)
def test_a_failing_job_stops_no_other_and_the_same_command_runs_it_alone(
    launcher: str, tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, options = LAUNCHERS[launcher]
    try:
        found = find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{package} is not installed (docs/launchers.md)")
    others = ["2e-3"] if launcher == "basic" else ["1e-3", "2e-3"]
    rates = f"method.learning_rate={FAILING},{','.join(others)}"
    done, every = len(others), len(others) + 1
    words = ["-m", f"hydra/launcher={launcher}", *options, *line(tiny_encoder, tmp_path / "runs", rates)]
    code, said = tell(words, launcher, tmp_path, capsys)
    assert code == 1, said
    assert f"{every} of {every} runs to do" in said
    assert f"{done} completed, 1 failed" in said
    [failed] = re.findall(r"^  failed: (.*)$", said, re.MULTILINE)
    assert f"method.learning_rate={FAILING}" in failed
    assert "hydra" not in failed
    assert "Traceback" not in said
    records = {path: read_record(path) for path in find_records(tmp_path / "runs")}
    statuses = sorted(record.status.value for record in records.values())
    assert statuses == [*["completed"] * done, "failed"]
    before = written(tmp_path / "runs")
    code, said = tell(words, launcher, tmp_path, capsys)
    assert code == 1, said
    assert f"1 of {every} runs to do, {done} done before" in said
    changed = {path for path, time in written(tmp_path / "runs").items() if before[path] != time}
    assert changed == {path for path, record in records.items() if record.status is Status.failed}


def tell(
    words: list[str], launcher: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit status and what was said; Hydra's own launcher runs the jobs in this very process."""
    if launcher == "basic":
        return cli.run(words), capsys.readouterr().err
    process = start(words, folder)
    said = process.communicate()[1]
    return process.returncode, said


@pytest.mark.slow
def test_a_job_that_is_put_back_into_the_queue_goes_on_from_its_checkpoint(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ["-m", "hydra/launcher=submitit_local", "train.epochs=20", "train.checkpoint_minutes=1e-9"]
    process = start([*line(tiny_encoder, tmp_path / "runs"), *words], tmp_path)
    folder = wait_for(process, tmp_path / "runs", "finetune/checkpoints/checkpoint-*/WHOLE").parents[3]
    begun = read_record(folder / "run.json").started
    os.kill(json.loads((folder / "run.lock").read_text())["pid"], signal.SIGUSR2)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    record = read_record(folder / "run.json")
    assert record.status is Status.completed
    assert record.started == begun
    log = "".join(path.read_text() for path in (tmp_path / "runs/.hydra").rglob("*_log.*"))
    assert "Requeued job" in log


def wait_for(process: subprocess.Popen[str], root: Path, pattern: str) -> Path:
    """The first file of that pattern below `root`, while the process runs."""
    while process.poll() is None:
        found = next(root.rglob(pattern), None)
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(process.communicate()[1])


def test_a_setting_that_only_the_swept_methods_have(tiny_encoder: Path, tmp_path: Path) -> None:
    methods = "method=lora_random_ranks,lora_uniform"
    settings = ("method.scaling=constant", "method.total=4", "train.max_steps=1")
    words = line(tiny_encoder, tmp_path / "runs", methods, *settings)
    assert cli.run(["-m", *(word for word in words if word != "method=lora")]) == 0
    records = [read_record(path) for path in find_records(tmp_path / "runs")]
    assert {r.method: r.config["method"]["scaling"] for r in records} == {
        "lora_random_ranks": "constant",
        "lora_uniform": "constant",
    }


@pytest.mark.parametrize("launcher", ["basic", pytest.param("submitit_local", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_control_takes_the_ranks_of_its_sweeps_own_search(
    launcher: str, tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone it has none to take, which is said; after the search it is drawn with the total and spread of its ranks."""
    words = [word for word in line(tiny_encoder, tmp_path / "runs", "seed=0,1") if word != "method=lora"]
    control = ["-m", *words, "method=lora_random_ranks"]
    assert cli.run(control) == 2
    said = capsys.readouterr().err
    assert "a finished run of autolora for lora_random_ranks, and 1 more" in said
    assert not list(find_records(tmp_path / "runs"))
    assert cli.run(["-m", *words, "method=autolora"]) == 0
    assert cli.run([*control, *LAUNCHERS[launcher][1], f"hydra/launcher={launcher}"]) == 0
    found = {(r.method, r.seed): r for r in map(read_record, find_records(tmp_path / "runs"))}
    for seed in (0, 1):
        learnt, drawn = (
            [layer.rank for layer in found[method, seed].ranks]
            for method in ("autolora", "lora_random_ranks")
        )
        assert sum(learnt) == sum(drawn)
        assert sum(rank**2 for rank in learnt) == sum(rank**2 for rank in drawn)
        origin = found["lora_random_ranks", seed].phases[0].details["origin"]
        assert origin == f"sst2/any/autolora-{found['autolora', seed].config_id}/seed{seed}"


@pytest.mark.slow
def test_a_setting_that_only_what_a_suite_chooses_has(tiny_encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "conf" / "suite").mkdir(parents=True)
    (tmp_path / "conf" / "suite" / "mine.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {method: autolora, seed: '0,1'}}}\n"
    )
    words = line(tiny_encoder, tmp_path / "runs", "suite=mine", "method.search.interval=2")
    said = [word for word in words if word != "method=lora"]
    assert cli.run(["--config-dir", str(tmp_path / "conf"), *said]) == 0
    records = [read_record(path) for path in find_records(tmp_path / "runs")]
    assert [(r.seed, r.config["method"]["search"]["interval"]) for r in records] == [(0, 2), (1, 2)]


def test_of_two_words_for_the_same_setting_the_later_is_planned_and_run(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    said = line(tiny_encoder, tmp_path / "runs", "seed=0,1", "seed=2")
    assert cli.run(["-m", *said]) == 0
    assert [read_record(path).seed for path in find_records(tmp_path / "runs")] == [2]


def test_a_launcher_that_gives_up_hides_nothing(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Gone:
        def launch(self, *_: object, **__: object) -> None:
            raise RuntimeError("a worker was killed\nin the middle of its work")

    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda *_, **__: Gone())
    assert cli.run(["-m", *line(tiny_encoder, tmp_path / "runs", "seed=0,1")]) == 1
    said = capsys.readouterr().err
    assert "the launcher gave up: RuntimeError: a worker was killed" in said
    assert "2 missing" in said
    assert "Traceback" not in said


def test_a_setting_that_a_launcher_does_not_have_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "data=generated", "task=sst2", f"results={tmp_path}", "hydra.launcher.n_workers=2"]
    assert cli.run(words) == 2
    said = capsys.readouterr().err
    assert "n_workers" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_killed_worker_of_joblib_is_told_and_the_same_command_ends_what_it_began(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "train.epochs=30"]
    words = [*line(tiny_encoder, tmp_path / "runs", "seed=0,1"), *words]
    first = start(words, tmp_path)
    folder = wait_for(first, tmp_path / "runs", "seed0/run.json").parent
    os.kill(json.loads((folder / "run.lock").read_text())["pid"], signal.SIGKILL)
    said = first.communicate()[1]
    assert first.returncode == 1, said
    assert "the launcher gave up: TerminatedWorkerError" in said
    assert "interrupted: autolora-bench" in said
    assert "Traceback" not in said
    again = start(words, tmp_path)
    assert "2 completed" in again.communicate()[1]
    assert again.returncode == 0


@pytest.mark.slow
def test_two_sweeps_at_once_lose_nothing(tiny_encoder: Path, tmp_path: Path) -> None:
    words = ["-m", *line(tiny_encoder, tmp_path / "runs", "seed=0,1,2")]
    both = [start(words, tmp_path), start([*words[:-1], "seed=2,1,0"], tmp_path)]
    for process in both:
        said = process.communicate()[1]
        assert process.returncode in (0, 3), said
        assert "failed" not in said
        assert "Traceback" not in said
    assert [read_record(path).status for path in find_records(tmp_path / "runs")] == [Status.completed] * 3
    assert not list((tmp_path / "runs").rglob("run.lock"))
    assert not list((tmp_path / "runs").rglob(".*.writing"))
    last = start(words, tmp_path)
    assert "0 of 3 runs to do" in last.communicate()[1]
    assert last.returncode == 0


def test_a_launcher_that_is_not_installed_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["-m", "hydra/launcher=rq", "seed=0,1", "data=generated"]) == 2
    said = capsys.readouterr().err
    assert "hydra/launcher=rq" in said
    assert "pip install" in said
    assert shlex.quote("autolora-bench[joblib,submitit,optuna]") in said
