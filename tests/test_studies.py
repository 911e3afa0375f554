"""Learning rates tuned with Optuna: the same for every method, and nothing is run twice."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

from autolora_bench import cli
from autolora_bench.commands import launch
from autolora_bench.config.trackers import TRACKERS
from autolora_bench.errors import UserError
from autolora_bench.record import Status, find_records, read_record, write_record
from autolora_bench.request import Request
from autolora_bench.sweeps import studies as module
from autolora_bench.sweeps.expansion import plan
from autolora_bench.sweeps.studies import Study, studies

pytestmark = pytest.mark.usefixtures("module_cache")

REPOSITORY = Path(__file__).resolve().parent.parent
SMALL = (
    "suite=tune",
    "task=sst2",
    "model=any",
    "data=generated",
    "data.limit=16",
    "data.limit_evaluation=8",
    "device=cpu",
    "train.epochs=1",
    "train.batch_size=8",
    "~recipe",
    "hydra.sweeper.n_trials=2",
)


def rates(results: Path, method: str) -> set[float]:
    records = [read_record(path) for path in find_records(results)]
    return {record.config["method"]["learning_rate"] for record in records if record.method == method}


def test_every_method_is_one_study_of_as_many_trials() -> None:
    found = studies(Request(("suite=tune", "task=rte", "data=generated", "seed=0,1")))
    methods = [word for study in found for word in study.title.split() if word.startswith("method=")]
    assert len(methods) == 2 * len(set(methods))
    assert len(set(methods)) > 4
    assert {study.trials for study in found} == {10}
    assert [study.tuned for study in found] == [{"method.learning_rate": (1e-6, 1e-2)}] * len(found)


def test_a_trial_is_a_run_like_any_other() -> None:
    words = ("suite=tune", "task=rte", "data=generated", "method=lora", "method.learning_rate=0.0003")
    assert studies(Request(words)) == []
    [entry] = plan(Request(words))
    assert entry.experiment.method.name == "lora"


def test_runs_that_are_chosen_as_it_goes_cannot_be_planned() -> None:
    with pytest.raises(UserError, match="chosen as it goes"):
        plan(Request(("suite=tune", "data=generated")))


def test_methods_get_the_same_trials_and_the_same_command_runs_what_is_missing(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, "method=lora,bitfit", f"model.checkpoint={tiny_encoder}", f"results={tmp_path}"]
    assert cli.run(words) == 0
    said = capsys.readouterr()
    assert said.out.count("best accuracy") == 2
    assert len(rates(tmp_path, "lora")) == 2
    assert rates(tmp_path, "lora") == rates(tmp_path, "bitfit")
    assert said.out.count("(2 completed)") == 2
    before = {path: path.stat().st_mtime_ns for path in find_records(tmp_path)}
    lost = next(iter(before))
    lost.unlink()
    assert cli.run(words) == 0
    after = {path: path.stat().st_mtime_ns for path in find_records(tmp_path)}
    assert {path for path in after if after[path] != before[path]} == {lost}
    assert set(after) == set(before)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # refused of what is to be made, and nothing is
    assert cli.run(words) == 0
    assert cli.run([*words, "rerun=all"]) == 2
    assert {path: path.stat().st_mtime_ns for path in after} == after


def test_a_study_of_a_method_that_does_not_work_there_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run: list[str] = []
    monkeypatch.setattr(launch, "_study", lambda study: (run.append(study.title) is None, 0))
    monkeypatch.setattr(module, "_tell", lambda study, headline, refused: True)
    words = ["suite=tune", "task=rte", "data=generated", "model=smollm2_135m"]
    assert cli.run([*words, "method=bitfit,lora"]) == 0
    assert len(run) == 1
    assert "method=lora" in run[0]
    assert "left out: method=bitfit does not work on a llama model" in capsys.readouterr().err
    assert cli.run([*words, "method=bitfit"]) == 2
    assert "method=bitfit does not work on a llama model" in capsys.readouterr().err


def test_failed_trials_are_told_and_do_not_stop_the_study(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = "method.learning_rate=tag(log, interval(1e29, 1e30))"
    line = [f"model.checkpoint={tiny_encoder}", f"results={tmp_path}", "train.warmup=0.0", "method=lora", hot]
    assert cli.run([*SMALL, *line]) == 1
    said = capsys.readouterr().err
    assert said.count("failed: method.learning_rate=") == 2
    assert "2 of 2 trials are not completed" in said
    assert "gave up" not in said
    assert len(list(find_records(tmp_path))) == 2


FEW_ROWS = "task.rows={train: 64, validation: 16, test: 16}"


def planted(results: Path, *more: str) -> list[str]:
    """The words of studies that take seconds."""
    small = ["suite=tune", "task=planted", "model=small", "train.max_steps=2", "device=cpu", "method=lora"]
    return [*small, FEW_ROWS, f"results={results}", *more]


def test_trials_that_are_refused_are_told_and_no_study_ends_well_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranks = ["method.learning_rate=1e-3", "method.rank=int(interval(-1, 1))", "hydra.sweeper.n_trials=4"]
    assert cli.run(planted(tmp_path, *ranks)) == 1
    said = capsys.readouterr()
    assert len(list(find_records(tmp_path))) == 1
    assert "best relative_error" in said.out
    assert said.err.count("\nmethod.rank=0\n") == 1
    assert "3 of 4 trials were refused" in said.err
    assert "trials are not completed" not in said.err
    assert cli.run(planted(tmp_path, *ranks, "method.rank=int(interval(-1, 0))")) == 2
    assert "method.rank=-1" in capsys.readouterr().err


def test_a_record_of_something_else_answers_for_no_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = planted(tmp_path, "method.learning_rate=1e-3", "method.rank=int(interval(1, 2))")
    assert cli.run([*words, "hydra.sweeper.n_trials=1"]) == 0
    [path] = find_records(tmp_path)
    record = read_record(path)
    record.seed = 7
    write_record(path.parent, record)
    capsys.readouterr()
    assert cli.run([*words, "hydra.sweeper.n_trials=1"]) == 1
    said = capsys.readouterr().err
    assert "is the record of seed 7, in the folder of seed 0" in said
    assert "1 of 1 trials were refused" in said


def test_what_all_trials_have_is_looked_at_with_what_they_tune() -> None:
    """The default of what is tuned may be refused beside the other words, and so may a bound."""
    words = ("suite=tune", "task=planted", "model=small", "seed=0")
    search = ("method=autolora", "method.search.rule=budget", "method.search.budget=int(interval(12, 48))")
    [study] = studies(Request((*words, *search)))
    assert study.example.method.search.budget == 12  # type: ignore[attr-defined]
    [study] = studies(Request((*words, "method=lora", "method.rank=int(interval(-1, 6))")))
    assert study.example.method.rank == 6  # type: ignore[attr-defined]


def test_a_study_that_cannot_be_is_not_composed_at_every_corner(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    compose = Study._compose

    def counted(study: Study, values: tuple[str, ...]) -> Any:
        asked.append(values)
        return compose(study, values)

    monkeypatch.setattr(Study, "_compose", counted)
    tuned = [
        f"{name}=interval(0.01, 0.1)" for name in ("train.weight_decay", "train.warmup", "method.dropout")
    ]
    words = ("task=sst2", "data=generated", "model=any", "hydra/sweeper=optuna", "seed=0", *tuned)
    [wrong] = studies(
        Request((*words, "method=lora", "train.max_grad_norm=interval(0.5, 1.0)"), multirun=True)
    )
    with pytest.raises(UserError, match="there is no setting"):
        wrong.example  # noqa: B018
    assert len(asked) == 6
    rate = "method.learning_rate=interval(0, 0.01)"
    [left_out] = studies(
        Request((*words[:-3], "model.architecture=llama", "method=bitfit", rate), multirun=True)
    )
    assert "no bias terms" in str(left_out.refusal())


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "nsgaii", "gp"])
@pytest.mark.sample(keep=("tpe", "cmaes"))
def test_every_sampler_that_is_named_chooses_trials(
    sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[float] = []

    def trial(config: Any) -> float:
        asked.append(config.method.learning_rate)
        return asked[-1]

    monkeypatch.setattr(launch, "trial", trial)
    words = planted(tmp_path, f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.n_trials=6")
    cli.run([*words, "train.weight_decay=interval(0.0, 0.1)"])
    assert len({*asked}) == 6
    assert all(1e-6 <= rate <= 1e-2 for rate in asked)
    assert "gave up" not in capsys.readouterr().err


def test_a_sampler_of_lists_is_refused_in_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(planted(tmp_path, "hydra/sweeper/sampler=grid")) == 2
    said = capsys.readouterr().err
    assert "hydra/sweeper/sampler=grid tries values of a list" in said
    assert "seed has no such entry" not in said


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (None, "asks accelerate to compute in bf16, and train.precision is fp32"),
        ("train.trackers=[trackio]", "trackio, which is not installed"),
        ("results={}/file/runs", "cannot write results to"),
    ],
)
def test_what_a_run_refuses_of_its_machine_a_study_refuses_once_and_first(
    word: str | None,
    told: str,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(launch, "sweep", lambda *_: pytest.fail("trials were begun"))
    monkeypatch.setitem(TRACKERS, "trackio", "no_such_package")
    (tmp_path / "file").touch()
    words = [*SMALL, "method=lora,bitfit", f"model.checkpoint={tiny_encoder}", f"results={tmp_path}"]
    if word is None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    else:
        words.append(word.format(tmp_path))
    assert cli.run(words) == 2
    said = capsys.readouterr().err
    assert said.count(told) == 1
    assert len(said.splitlines()) == 2
    assert not list(find_records(tmp_path))


def short_study(encoder: Path, results: Path) -> list[str]:
    """The words of two trials, but for what is tuned."""
    return [*SMALL, f"model.checkpoint={encoder}", f"results={results}", "train.warmup=0.0", "method=lora"]


def test_runs_that_are_no_trials_are_told(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = short_study(tiny_encoder, tmp_path)
    line.append("method.learning_rate=tag(log, interval(1e-4, 1e-3))")
    for seed, said in ((1, False), (2, True)):
        assert cli.run([*line, f"hydra.sweeper.sampler.seed={seed}"]) == 0
        assert (
            "4 runs with these settings are there, more than the 2 trials" in capsys.readouterr().err
        ) is said


def test_runs_outside_of_the_bounds_answer_for_no_trial(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = short_study(tiny_encoder, tmp_path)
    assert cli.run([*line, "method.learning_rate=tag(log, interval(1e-4, 1e-3))"]) == 0
    capsys.readouterr()
    assert cli.run([*line, "method.learning_rate=tag(log, interval(1e29, 1e30))"]) == 1
    said = capsys.readouterr()
    assert "best" not in said.out
    assert "2 of 2 trials are not completed" in said.err


def test_trials_with_the_same_values_are_one_run(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*SMALL, f"model.checkpoint={tiny_encoder}", f"results={tmp_path}", "method=lora"]
    words = ["method.learning_rate=1e-3", "method.rank=int(interval(1, 2))", "hydra.sweeper.n_trials=4"]
    assert cli.run([*line, *words]) == 0
    assert len(list(find_records(tmp_path))) <= 2
    assert "not completed" not in capsys.readouterr().err


def test_a_trial_at_a_settings_default_is_a_trial_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record says nothing of the setting, so that runs before that setting keep their identity."""
    line = ["suite=tune", "task=planted", "model=small", "train.max_steps=4", "device=cpu", "method=autolora"]
    line += [
        FEW_ROWS,
        "method.search.diagnose_steps=[]",
        "method.learning_rate=1e-2",
        "method.search.inner_steps=int(interval(1, 2))",
        f"results={tmp_path}",
    ]
    assert cli.run([*line, "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=1"]) == 0
    found = [read_record(path) for path in find_records(tmp_path)]
    assert sorted(record.config["method"]["search"].get("inner_steps", 1) for record in found) == [1, 2]
    assert "(2 completed)" in capsys.readouterr().out


ERROR_RATE = (
    "suite=tune",
    "task=webnlg",
    "task.metrics=[ter,bleu]",
    "task.decoding.max_new_tokens=8",
    "task.decoding.beams=1",
    "model=any",
    "data=generated",
    "data.limit=16",
    "data.limit_evaluation=4",
    "device=cpu",
    "train.epochs=1",
    "train.label_smoothing=0",
    "~recipe",
    "method=full",
    "method.learning_rate=tag(log, interval(1e-4, 1e-1))",
)


@pytest.mark.slow
def test_of_an_error_rate_the_lowest_is_the_best(
    tiny_decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *ERROR_RATE,
        "hydra.sweeper.n_trials=3",
        f"model.checkpoint={tiny_decoder}",
        f"results={tmp_path}",
    ]
    for again in ([], ["hydra.sweeper.direction=minimize"]):
        assert cli.run([*words, *again]) == 0
        rates = [best["validation"].scores["ter"] for best in scores(tmp_path).values()]
        assert min(rates) < max(rates)
        assert f"best ter {min(rates):.4f} at" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "way"),
    [
        (("task=webnlg", "task.metrics=[ter,bleu]"), "minimize"),
        (("task=webnlg", "task.metrics=[ter/unseen]"), "minimize"),
        (("task=webnlg", "task.metrics=[bleu,ter]"), "maximize"),
        (("task=rte",), "maximize"),
    ],
)
@pytest.mark.sample(keep=("words0-minimize",))
def test_the_sampler_looks_where_the_metric_gets_better(words: tuple[str, ...], way: str) -> None:
    other = {"minimize": "maximize", "maximize": "minimize"}[way]
    asked = ("suite=tune", "model=smollm2_135m", "data=generated", "method=lora", "seed=0", *words)
    for stated in ((), (f"hydra.sweeper.direction={way}",), (f"hydra.sweeper.direction=[{way}]",)):
        [study] = studies(Request((*asked, *stated)))
        study.check()
        assert study.words[-1] == f"hydra.sweeper.direction={way}"
    for stated in (other, f"[{way},{other}]"):
        [study] = studies(Request((*asked, f"hydra.sweeper.direction={stated}")))
        with pytest.raises(UserError, match="not the way in which"):
            study.check()


def test_a_direction_in_a_suite_of_ones_own_counts_as_stated(tmp_path: Path) -> None:
    file = tmp_path / "suite" / "mine.yaml"
    file.parent.mkdir()
    shipped = (REPOSITORY / "conf" / "suite" / "tune.yaml").read_text(encoding="utf-8")
    file.write_text(shipped.replace("n_jobs: 1\n", "n_jobs: 1\n    direction: minimize\n"), encoding="utf-8")
    words = ["suite=mine", "task=rte", "data=generated", "method=lora", "seed=0"]
    [study] = studies(Request(tuple(words), config_dir=tmp_path))
    with pytest.raises(UserError, match="direction=minimize is not the way in which accuracy"):
        study.check()
    assert cli.run(["--config-dir", str(tmp_path), *words]) == 2


@pytest.mark.slow
def test_a_study_that_was_killed_in_a_trial_asks_for_the_same_trials(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    words = [*SMALL, "hydra.sweeper.n_trials=3", "method=lora", f"model.checkpoint={tiny_encoder}"]
    killed, whole = ([*words, f"results={tmp_path / name}"] for name in ("killed", "whole"))
    assert cli.run(whole) == 0
    first = subprocess.Popen(
        [sys.executable, "-m", "autolora_bench", *killed, "train.checkpoint_minutes=1e-9"]
    )
    while first.poll() is None and not running_second(tmp_path / "killed"):
        time.sleep(0.002)
    first.kill()
    first.wait()
    done = {
        path: path.stat().st_mtime_ns
        for path in find_records(tmp_path / "killed")
        if read_record(path).status is Status.completed
    }
    assert len(done) == 1
    assert cli.run(killed) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    assert scores(tmp_path / "killed") == scores(tmp_path / "whole")


def running_second(results: Path) -> bool:
    """Whether one trial is completed and another has begun."""
    states = [read_record(path).status for path in find_records(results)] if results.is_dir() else []
    return sorted(states) == [Status.completed, Status.running]


def scores(results: Path) -> dict[float, Any]:
    records = [read_record(path) for path in find_records(results)]
    return {record.config["method"]["learning_rate"]: record.best for record in records}
