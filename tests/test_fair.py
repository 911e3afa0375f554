"""Every method's rate is chosen alike, on examples that are not compared on, and before anything is compared."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from autolora_bench import cli
from autolora_bench.commands import launch
from autolora_bench.commands.fair import too_few_seeds
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import config_id, experiment_identity
from autolora_bench.config.trackers import TRACKERS
from autolora_bench.data.load import load_data
from autolora_bench.errors import UserError
from autolora_bench.plan import PlannedRun
from autolora_bench.record import Evaluation, RunRecord, Status, find_records, read_record, write_record
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import Shared, plan, plan_jobs
from autolora_bench.sweeps.tuned_first import Contender, contenders, is_fair, planned_runs
from autolora_bench.training.weight_groups import HeadRate

pytestmark = pytest.mark.usefixtures("module_cache")

GRID = "tuning.rates=[1e-4,3e-4,1e-3,3e-3,1e-2]"
TASK = ("suite=fair", GRID, "task=sst2", "data=generated", "data.limit=40", "data.limit_evaluation=16")
SMALL = (*TASK, "model=any", "device=cpu", "train.epochs=1", "train.threads=1", "seed=0,1")


@pytest.fixture
def words(tmp_path: Path) -> tuple[str, ...]:
    """A study of LoRA whose records are under tmp_path."""
    return (*TASK, "method=lora", "seed=0,1,2", f"results={tmp_path}")


def found(words: tuple[str, ...]) -> list[Contender]:
    request = Request(words)
    return contenders(request, plan(request))


def only(words: tuple[str, ...]) -> Contender:
    [contender] = found(words)
    return contender


def completed(run: PlannedRun, score: float | None, higher: bool = True) -> None:
    """Leave a record as a run leaves it."""
    e = run.experiment
    split = e.task.evaluation[0]
    scores = {"accuracy": score}
    note = "a score needs more than this" if score is None else None
    evaluation = Evaluation("finetune", split, epoch=1.0, step=1, scores=scores, examples=4, note=note)  # type: ignore[arg-type]
    record = RunRecord(
        *(e.task.name, e.model.name, e.method.name, config_id(e), e.seed, Status.completed),
        *(experiment_identity(e), run.command),
    )
    record.headline, record.metrics = "accuracy", {"accuracy": higher}
    record.last = record.best = {split: evaluation}
    run.folder.mkdir(parents=True, exist_ok=True)
    write_record(run.folder, record)


def diverged(run: PlannedRun) -> None:
    completed(run, 0.0)
    record = read_record(run.folder / "run.json")
    record.status, record.last = Status.failed, {}
    record.error = {"type": "DivergenceError", "message": "", "mend": "", "traceback": ""}
    write_record(run.folder, record)


def tune(words: tuple[str, ...], score: Callable[[float], float | None], higher: bool = True) -> Contender:
    """Answer every tuning run that is asked for with the score of its rate (None: it diverged) until none is left."""
    for _ in range(20):
        contender = only(words)
        open_runs = [run for one in contender.candidates if one.merit is None for run in one.runs]
        if not open_runs:
            return contender
        for run in open_runs:
            found = score(run.experiment.method.learning_rate)
            diverged(run) if found is None else completed(run, found, higher)
    raise AssertionError("tuning does not end")


def peak(rate: float) -> Callable[[float], float]:
    return lambda tried: -abs(torch.tensor(tried).log() - torch.tensor(rate).log()).item()


def rates(contender: Contender) -> list[float]:
    return [candidate.rate for candidate in contender.candidates]


def test_tuning_runs_hold_out_training_data_and_final_runs_do_not(words: tuple[str, ...]) -> None:
    tuned = tune(words, peak(1e-3))
    assert {run.experiment.data.held_out for run in tuned.tuning_runs()} == {0.1}
    assert {run.experiment.task.evaluation[0] for run in tuned.tuning_runs()} == {"held_out"}
    finals = tuned.final_runs()
    assert [run.experiment.seed for run in finals] == [0, 1, 2]
    assert {run.experiment.data.held_out for run in finals} == {0.0}
    assert {run.experiment.task.evaluation[0] for run in finals} == {"validation"}
    assert {run.experiment.method.learning_rate for run in finals} == {1e-3}
    assert not {run.experiment.seed for run in tuned.tuning_runs()} & {0, 1, 2}


@pytest.mark.parametrize(
    ("best", "tried"),
    [
        pytest.param(1e-3, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], marks=pytest.mark.slow),
        pytest.param(1e-2, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2], marks=pytest.mark.slow),
        (3e-5, [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
    ],
)
def test_the_grid_is_extended_while_the_best_rate_is_at_its_end(
    words: tuple[str, ...], best: float, tried: list[float]
) -> None:
    tuned = tune(words, peak(best))
    assert rates(tuned) == pytest.approx(tried)
    assert tuned.choice is not None
    assert tuned.choice.rate == pytest.approx(best)
    assert not tuned.at_edge


def test_what_all_methods_need_next_is_planned_together(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[list[str]] = []

    def noted(request: Request, jobs: Sequence[tuple[str, ...]], shared: Shared) -> list[PlannedRun]:
        runs = plan_jobs(request, jobs, shared)
        planned.append(sorted({run.experiment.method.name for run in runs}))
        return runs

    both = (*words, "method=lora,bitfit")
    for run in found(both)[0].tuning_runs():  # LoRA's best rate is an end of the grid, BitFit's is not known
        completed(run, run.experiment.method.learning_rate)
    monkeypatch.setattr("autolora_bench.sweeps.tuned_first.plan_jobs", noted)
    runs = planned_runs(Request(both))
    assert planned == [["bitfit", "lora"], ["lora"]]
    assert len(runs) == 5 + 6


@pytest.mark.parametrize("look", range(1, 4))
def test_a_run_that_another_process_ends_between_two_looks_cannot_end_the_tuning(
    look: int, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records that decide on the extension are those that decide on the choice."""
    *others, last = only(words).tuning_runs()
    for run in others:
        completed(run, run.experiment.method.learning_rate)
    inner, looks = PlannedRun.record, []

    def record(run: PlannedRun) -> RunRecord | None:
        found = inner(run)
        looks.append(run.folder == last.folder)
        if run.folder == last.folder and sum(looks) == look:
            completed(last, 1.0)
        return found

    monkeypatch.setattr(PlannedRun, "record", record)
    contender = only(words)
    assert contender.choice is None or len(rates(contender)) > 5
    assert not contender.at_edge


def test_an_extension_has_an_end_and_that_is_told(words: tuple[str, ...]) -> None:
    tuned = tune((*words, "tuning.extensions=2"), peak(1.0))
    assert rates(tuned)[-2:] == pytest.approx([3e-2, 1e-1])
    assert tuned.at_edge


def test_of_an_error_rate_the_lowest_is_chosen(words: tuple[str, ...]) -> None:
    higher = peak(3e-4)
    tuned = tune(words, lambda rate: -higher(rate), higher=False)
    assert tuned.choice is not None
    assert tuned.choice.rate == 3e-4
    assert tuned.choice.score == pytest.approx(0.0, abs=1e-6)


def test_a_rate_that_diverges_is_the_worst_and_not_run_again(words: tuple[str, ...]) -> None:
    tuned = tune(words, lambda rate: None if rate > 5e-4 else rate)
    assert rates(tuned) == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    assert tuned.choice is not None
    assert tuned.choice.rate == 3e-4


def test_where_every_rate_diverges_there_is_nothing_to_compare(words: tuple[str, ...]) -> None:
    lost = tune((*words, "tuning.extensions=1"), lambda rate: None)
    assert rates(lost) == pytest.approx([3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
    assert lost.choice is None
    assert lost.final_runs() == []


def test_a_rate_of_which_one_run_diverged_is_waited_for_nowhere(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """As where the command was stopped between the seeds: the other has no record, or one that was interrupted."""
    two = (*words, "tuning.seeds=[100,101]", "tuning.rates=[1e-4,3e-4,1e-3]")
    *others, lost, beside = only(two).tuning_runs()
    for run in others:
        completed(run, 0.8 + 0.1 * peak(3e-4)(run.experiment.method.learning_rate))
    diverged(lost)
    for run in only(two).final_runs():
        completed(run, 0.5)
    for more in ([], [beside]):
        for run in more:
            completed(run, None)
            record = read_record(run.folder / "run.json")
            record.status = Status.interrupted
            write_record(run.folder, record)
        assert planned_runs(Request(two)).given_up == {run.folder for run in (lost, *more)}
        told = {}
        for command in ("status", "check", "report"):
            cli.run([command, *two])
            told[command] = capsys.readouterr().out
        assert (
            told["status"] == f"{8 + len(more)} runs: 7 completed, {1 + len(more)} of a rate that diverged\n"
        )
        assert "time:" not in told["check"]
        assert "| diverged |" in told["report"]
        assert "not completed" not in told["report"]
        assert "same seeds" not in told["report"]
        assert cli.run(two) == 0
        assert "0.001 diverged" in capsys.readouterr().out


def test_where_no_score_is_defined_other_rates_are_not_tried_and_what_helps_is_told(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for run in only(words).tuning_runs():
        completed(run, None)
    contender = only(words)
    assert rates(contender) == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    assert contender.hopeless
    assert cli.run(words) == 1
    said = capsys.readouterr().err
    assert "held-out scores are undefined (a score needs more than this)" in said
    assert "tuning.held_out or data.limit" in said
    assert "every run diverged" not in said


def test_a_score_that_is_not_defined_is_not_told_as_a_run_that_diverged(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    few = (*words, "tuning.rates=[1e-4,3e-4,1e-3]", "tuning.extensions=1")
    for run, score in zip(only(few).tuning_runs(), (None, 0.5, 0.4), strict=True):
        completed(run, score)
    for run in only(few).final_runs():
        completed(run, 0.5)
    assert cli.run(few) == 0
    assert "0.0001 undefined, 0.0003 0.5000, 0.001 0.4000" in capsys.readouterr().out
    for run in only(few).tuning_runs()[1:]:
        diverged(run)
    assert rates(only(few)) == pytest.approx(
        [3e-5, 1e-4, 3e-4, 1e-3]
    )  # what diverged may not at a lower rate
    assert only(few).choice is None


def test_of_equal_rates_the_middle_one_is_chosen(words: tuple[str, ...]) -> None:
    tuned = tune(words, lambda rate: 0.5)
    assert rates(tuned) == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    assert tuned.choice is not None
    assert tuned.choice.rate == 1e-3


def test_other_settings_are_tuned_with_the_rate_where_a_method_has_them(words: tuple[str, ...]) -> None:
    several = ["method=lora,adapter", *(word for word in words if word != "method=lora")]
    also = (*several, 'tuning.also=["method.rank=1,8","method.bottleneck=4"]')

    def score(run: PlannedRun) -> float:
        return peak(1e-3)(run.experiment.method.learning_rate) + run.experiment.method.rank  # type: ignore[attr-defined]

    contender = found(also)[0]
    for run in contender.tuning_runs():
        completed(run, score(run))
    choice = contender.fresh().choice
    assert choice is not None
    assert choice.words == ("method.learning_rate=0.001", "method.rank=8")
    assert len(contender.candidates) == 10


def test_a_plus_before_a_word_changes_nothing(words: tuple[str, ...]) -> None:
    assert not is_fair(Request((*words, "++method.learning_rate=0.5")))
    seeds = ("++seed=7,8", *(word for word in words if not word.startswith("seed=")))
    contender = only(seeds)
    assert contender.seeds == (7, 8)
    assert {run.experiment.seed for run in contender.tuning_runs()} == {1000}
    assert not any("seed" in word for word in contender.words)


def test_a_search_takes_the_rate_that_is_tried(tmp_path: Path) -> None:
    contender = only((*TASK, "method=autolora", "seed=0,1", f"results={tmp_path}"))
    for run in contender.tuning_runs():
        method: Any = run.experiment.method
        assert method.search.learning_rate == method.learning_rate


def test_a_rate_that_is_said_leaves_a_searchs_rate_behind_and_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = (
        *TASK,
        "model=any",
        "method=autolora",
        "method.learning_rate=3e-3",
        "seed=0",
        f"results={tmp_path}",
    )
    follows = "method.search.learning_rate=${method.learning_rate}"
    others = [(*said, follows), (*said, "tuning.tied=[]"), (*said, "tuning.tied=[train.schedule]")]
    for words, told in [(said, True), *((other, False) for other in others)]:
        cli.run(["check", *words])
        assert (
            "method.search.learning_rate stays 0.0001 beside method.learning_rate=0.003"
            in capsys.readouterr().out
        ) == told


def test_the_rate_of_head_only_is_that_of_the_head(tmp_path: Path) -> None:
    contender = only((*TASK, "method=head_only", "seed=0,1", f"results={tmp_path}"))
    tried = [run.experiment for run in contender.tuning_runs()]
    assert [e.train.head_learning_rate for e in tried] == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    assert all(e.train.head_learning_rate == e.method.learning_rate for e in tried)


def test_what_is_not_known_yet_is_told(words: tuple[str, ...]) -> None:
    known = planned_runs(Request(words))
    assert len(known) == 5
    assert known.later == ["sst2 lora on minilm: 3 runs, once the tuning runs have chosen its rate"]
    tune(words, peak(1e-3))
    known = planned_runs(Request(words))
    assert (len(known), known.later) == (8, [])


def test_every_run_has_a_command_that_runs_just_it(words: tuple[str, ...]) -> None:
    import shlex

    said = [word for word in words if not word.startswith(("seed=", "tuning.rates="))]
    for run in tune((*said, "tuning.rates=[1e-3,3e-3]", "seed=0"), peak(1e-3)).known():
        request = Request(tuple(shlex.split(run.command)[1:]))
        assert not is_fair(request)
        assert [one.folder for one in plan(request)] == [run.folder]


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("tuning.rates=[1e-3]", r"tuning\.rates"),
        ("tuning.rates=[1e-3,1e-4]", r"tuning\.rates"),
        ("tuning.tied=[method.search.learnin_rate]", r"tuning\.tied has .*no method has such"),
        ("tuning.tied=[method.learning_rate]", r"tuning\.tied has 'method\.learning_rate'"),
        ("tuning=null", r"suite=fair without its tuning"),
        ("~tuning", r"suite=fair without its tuning"),
        ("tuning.seeds=[1]", r"tuning\.seeds"),
        ("tuning.held_out=1.0", r"tuning\.held_out"),
        ("tuning.extensions=-1", r"tuning\.extensions"),
        ("tuning.also=[method.rank]", r"tuning\.also"),
        ('tuning.also=["method.rnak=4,16"]', r"no method here has method\.rnak"),
        ('tuning.also=["seed=0,1"]', r"tuning\.also has 'seed=0,1'"),
        ('tuning.also=["data.held_out=0.1,0.2"]', r"tuning\.also has 'data\.held_out"),
        ('tuning.also=["method.rank=4","method.rank=8"]', r"says method\.rank or a value of it twice"),
        ('tuning.also=["method.rank=4,4"]', r"says method\.rank or a value of it twice"),
        ("tuning.seeds=[100,100]", r"tuning\.seeds=\[100, 100\]"),
        ("data.held_out=0.2", r"data\.held_out=0\.2 with a suite that tunes first"),
        ('tuning.also=["tuning.held_out=0.1,0.2"]', r"tuning\.also has 'tuning\.held_out"),
        ('tuning.also=["model.targets=[query"]', r"\[query"),
    ],
)
@pytest.mark.sample(one_in=2)
def test_a_tuning_that_cannot_be_is_refused(words: tuple[str, ...], word: str, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        planned_runs(Request((*words, word)))


@pytest.mark.parametrize("data", [(), ("data=planted",), ("data=hub",)])
def test_a_planted_task_is_refused_for_what_the_user_said(data: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="task=planted with a suite that tunes first") as error:
        planned_runs(Request(("suite=fair", "task=planted", "model=minilm", "method=lora", *data)))
    assert "method.learning_rate=1e-3" in error.value.mend


def test_a_suite_that_tunes_nothing_is_refused_beside_one_that_does(tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir()
    head = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1', method: "
    for name, rest in (("mine", "lora}}}\nbeside: [plain]\ntuning: {extensions: 0}"), ("plain", "bitfit}}}")):
        (tmp_path / "suite" / f"{name}.yaml").write_text(f"{head}{rest}\n", encoding="utf-8")
    words = ("suite=mine", "task=sst2", "data=generated", f"results={tmp_path}")
    with pytest.raises(UserError, match="suite=plain has no tuning, and is beside suite=mine"):
        planned_runs(Request(words, config_dir=tmp_path))
    assert planned_runs(Request((*words, "method=bitfit", "seed=0"), config_dir=tmp_path)).later
    (tmp_path / "suite" / "plain.yaml").write_text(f"{head}bitfit}}}}}}\nbeside: [mine]\n", encoding="utf-8")
    plain = ("suite=plain", *words[1:])
    with pytest.raises(UserError, match="suite=mine tunes first, and is beside suite=plain, which does not"):
        planned_runs(Request(plain, config_dir=tmp_path))


def test_a_setting_that_the_tuning_sets_is_not_taken_and_overruled(tmp_path: Path) -> None:
    words = (*TASK, "method=autolora", "seed=0", f"results={tmp_path}")
    with pytest.raises(UserError, match=r"method\.search\.learning_rate is said, and the tuning sets it"):
        planned_runs(Request((*words, "method.search.learning_rate=5e-4")))
    untied = planned_runs(Request((*words, "method.search.learning_rate=5e-4", "tuning.tied=[]")))
    assert {run.experiment.method.search.learning_rate for run in untied} == {5e-4}


def test_lists_are_tuned_as_one_value_each(words: tuple[str, ...]) -> None:
    runs = planned_runs(Request((*words, 'tuning.also=["model.targets=[query,value],[key]"]')))
    assert {tuple(run.experiment.model.targets or ()) for run in runs} == {("query", "value"), ("key",)}


def test_a_control_of_a_method_that_is_tuned_first_is_refused(tmp_path: Path) -> None:
    """The rate of the runs that it would take its ranks from is not known."""
    words = (*TASK, "method=autolora,lora_shuffled_ranks", "seed=0", f"results={tmp_path}")
    with pytest.raises(UserError, match=r"method=lora_shuffled_ranks takes its ranks from runs of autolora"):
        planned_runs(Request(words))


@pytest.mark.parametrize(
    ("methods", "tasks", "seeds", "said"),
    [
        ("lora,bitfit", "sst2", 5, "5 seeds cannot separate anything after correction for 1 comparison"),
        ("lora,bitfit", "sst2", 6, None),
        pytest.param(
            *("lora,bitfit,dora", "sst2", 6, "for 2 comparisons, whatever the scores: it takes 7 seeds"),
            marks=pytest.mark.slow,
        ),
        ("lora,bitfit", "sst2,rte,cola", 6, "for 3 comparisons, whatever the scores: it takes 7 seeds"),
        pytest.param("lora,bitfit", "sst2,rte,cola,stsb,mrpc,qnli", 2, None, marks=pytest.mark.slow),
        ("bitfit,dora", "sst2", 1, None),
    ],
)
def test_seeds_that_could_not_separate_anything_are_told_before_they_are_run(
    tmp_path: Path, methods: str, tasks: str, seeds: int, said: str | None
) -> None:
    words = ("suite=fair", "data=generated", f"results={tmp_path}", f"task={tasks}", f"method={methods}")
    lines = too_few_seeds(found((*words, f"seed={','.join(map(str, range(seeds)))}")))
    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]


def test_the_same_command_tunes_runs_and_then_has_nothing_to_do(
    tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        *SMALL,
        "method=lora",
        "tuning.rates=[1e-3,3e-3]",
        "tuning.extensions=0",
        f"model.checkpoint={tiny_encoder}",
        f"results={tmp_path}",
    ]
    assert cli.run(command) == 0
    said = capsys.readouterr().out
    assert "chosen: method.learning_rate=" in said
    before = {path: path.stat().st_mtime_ns for path in find_records(tmp_path)}
    kinds = [json.loads(path.read_text())["config"]["data"].get("held_out") for path in before]
    assert kinds.count(None) == 2
    assert kinds.count(0.1) >= 2
    assert cli.run(command) == 0
    assert {path: path.stat().st_mtime_ns for path in find_records(tmp_path)} == before


@pytest.mark.parametrize("asked", ["precision", "tracker"])
@pytest.mark.sample(keep=("tracker",))
def test_what_a_run_refuses_of_its_machine_is_refused_once_and_first(
    asked: str,
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the words of a run that is asked for alone; where all is completed nothing is asked."""
    monkeypatch.setattr(launch, "sweep", lambda *_: pytest.fail("runs were begun"))
    words = (*words, "seed=0", "tuning.rates=[1e-3,3e-3]", "tuning.extensions=0")
    more = ["train.trackers=[trackio]"] if asked == "tracker" else []
    monkeypatch.setitem(TRACKERS, "trackio", "no_such_package")
    if asked == "precision":
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert cli.run([*words, *more, "method.learning_rate=1e-3"]) == 2
    alone = capsys.readouterr().err.splitlines()[-2:]
    assert cli.run([*words, *more, "method=lora,bitfit"]) == 2
    assert capsys.readouterr().err.splitlines() == alone
    assert not list(find_records(tmp_path))
    for run in tune(words, peak(1e-3)).final_runs():
        completed(run, 0.5)
    assert cli.run([*words, *more]) == 0


@pytest.mark.sample(keep=("sst2", "e2e"))
@pytest.mark.parametrize("task", ["sst2", "stsb", "bionlp", "e2e"])
def test_what_is_held_out_is_training_data_that_is_not_trained_on(task: str) -> None:
    with composer():
        experiment, whole = (
            to_experiment(compose_config([f"task={task}", "data=generated", "method=lora", *held, *model]))
            for model in [["model=any", "model.checkpoint=x", "~recipe", "~cell"]]
            for held in (["data.held_out=0.2"], [])
        )
    found = load_data(experiment.task, experiment.data)
    all_data = load_data(whole.task, whole.data)
    assert set(found.splits) == {"train", "held_out"}

    def rows(split: Any) -> list[str]:
        return sorted(json.dumps(row, sort_keys=True) for row in split)

    assert rows([*found.splits["train"], *found.splits["held_out"]]) == rows(all_data.splits["train"])
    assert len(found.splits["held_out"]) == round(0.2 * len(all_data.splits["train"]))
    assert (
        load_data(experiment.task, experiment.data).fingerprint == found.fingerprint != all_data.fingerprint
    )
    if task == "sst2":
        share = [sum(part["label"]) / len(part) for part in (found.splits["train"], found.splits["held_out"])]
        assert share[0] == pytest.approx(share[1], abs=0.01)


def test_only_the_head_has_the_heads_rate() -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(3, 3), "classifier": nn.Linear(3, 2)})
    decayed, plain = (
        [p for p in model.parameters() if p.ndim > 1],
        [p for p in model.parameters() if p.ndim < 2],
    )
    optimizer = AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=1e-4
    )
    rate = HeadRate(["classifier"], 1e-2)
    rate.apply(optimizer, model)
    rate.apply(optimizer, model)
    found = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    for name, weight in model.named_parameters():
        expected = (1e-2 if name.startswith("classifier") else 1e-4, 0.1 if weight.ndim > 1 else 0.0)
        assert found[id(weight)] == expected
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_a_report_answers_first_and_shows_no_tuning_run_as_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*TASK, "method=lora,bitfit", "seed=0,1,2,3,4,5", f"results={tmp_path}")
    best = {"lora": 1e-3, "bitfit": 3e-3}
    for _ in range(5):
        for contender in found(words):
            name = contender.example.method.name
            for one in contender.candidates:
                if one.merit is None:
                    # bitfit is behind lora at lora's rate and ahead of it at its own
                    score = 0.8 + 0.05 * peak(best[name])(one.rate) + 0.02 * (name == "bitfit")
                    completed(one.runs[0], score)
    finals = [run for contender in found(words) for run in contender.final_runs()]
    for run in finals:
        ahead = run.experiment.method.name == "bitfit"
        completed(run, 0.8 + 0.01 * run.experiment.seed + (0.03 + 0.001 * run.experiment.seed) * ahead)
    assert cli.run(["report", *words, "compare=bitfit:lora"]) == 0
    said = capsys.readouterr().out
    first = said.splitlines()[0]
    assert first.startswith("- Tuned alike on minilm, against LoRA: BitFit +3.25 (")
    assert "6 pairs on 1 task" in first
    assert first.endswith("After correction for 1 comparison separated from it: BitFit on SST-2 accuracy.")
    assert "Tuning turned the order of 1 of 1 pair" in said
    assert "| LoRA | 82.50" in said
    assert "| sst2, LoRA | 68.49 | 73.98 | 80.00 | 74.51 | 68.49 | 0.001 |" in said
    assert "held_out" not in said
