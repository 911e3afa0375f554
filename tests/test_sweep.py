"""From words to planned runs."""

import json
import shlex
import shutil
from dataclasses import asdict
from itertools import product
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import pytest
from omegaconf import OmegaConf

from autolora_bench import cli, ownership
from autolora_bench.commands import launch
from autolora_bench.config.choices import choices
from autolora_bench.config.compose import compose_config, composer
from autolora_bench.config.experiment import config_id
from autolora_bench.config.method import LoraConfig, RankedLoraConfig
from autolora_bench.errors import UserError
from autolora_bench.ownership import owned
from autolora_bench.paths import conf_dir
from autolora_bench.plan import PlannedRun, missing_references
from autolora_bench.record import LayerRank, RunRecord, Status, write_record
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import plan, words_for_hydra

CONF = [conf_dir()]


def cells(*overrides: str, multirun: bool = False) -> list[tuple[str, str, int]]:
    planned = plan(Request(overrides, multirun))
    return [(e.experiment.task.name, e.experiment.method.name, e.experiment.seed) for e in planned]


def test_one_run() -> None:
    assert cells("task=cola", "method=full", "data=generated") == [("cola", "full", 0)]


def test_a_sweep_is_every_combination_in_order() -> None:
    found = cells("task=rte,cola", "method=lora,autolora", "seed=0,1", "data=generated", multirun=True)
    assert found == [(t, m, s) for t in ("rte", "cola") for m in ("lora", "autolora") for s in (0, 1)]


def test_the_command_line_narrows_a_suite() -> None:
    everything = cells("suite=demo")
    assert len(everything) > 2
    assert cells("suite=demo", "task=rte", "method=lora") == [
        c for c in everything if c[:2] == ("rte", "lora")
    ]


def test_table5_is_adalora_autolora_and_loras_grid_of_ranks() -> None:
    planned = plan(Request(("suite=table5", "data=generated", "task=sst2")))
    ranks = [
        getattr(e.experiment.method, "rank", None) for e in planned if e.experiment.method.name == "lora"
    ]
    assert [e.experiment.method.name for e in planned] == ["adalora", "autolora", *["lora"] * 16]
    assert ranks == list(range(1, 17))
    assert cells("suite=table5", "data=generated", "method=autolora", "task=sst2") == [
        ("sst2", "autolora", 0)
    ]
    for entry in (planned[0], planned[-1]):
        assert [e.folder for e in plan(Request(tuple(entry.overrides)))] == [entry.folder]


@pytest.mark.slow
def test_the_suite_of_ranks_is_one_lora_at_five_ranks_and_the_head_alone() -> None:
    found = plan(Request(("suite=lora_rank", "data.dir=/none", "task=stsb", "seed=0")))
    methods = [e.experiment.method for e in found]
    assert [m.name for m in methods] == ["lora"] * 5 + ["head_only"]
    ranks = [m.rank for m in methods if isinstance(m, LoraConfig)]
    assert ranks == [1, 2, 4, 8, 16]
    assert {(m.learning_rate, getattr(m, "alpha", 16.0)) for m in methods} == {(1e-3, 16.0)}
    assert {e.experiment.seed for e in plan(Request(("suite=lora_rank", "data.dir=/none")))} == {0, 1, 2}


def test_the_command_of_a_planned_run_plans_exactly_it() -> None:
    for entry in plan(Request(("suite=demo", "train.epochs=2")))[::8]:
        again = plan(Request(tuple(entry.overrides)))
        assert [e.folder for e in again] == [entry.folder]


@pytest.mark.parametrize(
    "words",
    [(), ("results=/a b",), ("model.targets=[query,value]",), ("results=${oc.env:HOME}/x", "seed=3")],
)
def test_a_printed_command_survives_a_shell(words: tuple[str, ...]) -> None:
    [entry] = plan(Request((*words, "data=generated")))
    program, *rest = shlex.split(entry.command)
    assert program == "autolora-bench"
    assert [e.folder for e in plan(Request(tuple(rest)))] == [entry.folder]


def test_a_printed_command_leaves_out_how_the_sweep_was_run() -> None:
    words = (
        "hydra.launcher.n_jobs=2",
        "+hydra.sweeper.n=1",
        "++hydra.launcher.a.b=1",
        "seed=0,1",
        "data=generated",
    )
    for entry in plan(Request(("hydra/launcher=joblib", *words), multirun=True)):
        assert "hydra" not in entry.command


def test_the_same_cell_twice_counts_once() -> None:
    assert cells("task=rte,rte", "data=generated", multirun=True) == [("rte", "lora", 0)]


def test_a_sweep_over_methods_takes_a_setting_that_only_they_have() -> None:
    words = ("method=autolora,lora_random_ranks", "method.scaling=constant", "task=rte", "data=generated")
    assert [c[1] for c in cells(*words, multirun=True)] == ["autolora", "lora_random_ranks"]
    with pytest.raises(UserError, match=r"no setting method\.scaling"):
        cells("method=lora,autolora", *words[1:], multirun=True)


def test_hydra_leaves_a_setting_of_what_is_swept_for_the_jobs() -> None:
    words = ("method=lora_uniform,lora_random_ranks", "method.scaling=constant", "train.epochs=2", "seed=0,1")
    given = words_for_hydra(Request(words, multirun=True))
    assert given == [words[0], "method.scaling=choice(constant)", *words[2:]]
    assert words_for_hydra(Request(("method=autolora", *words[1:]))) == ["method=autolora", *words[1:]]


def test_a_word_may_be_about_what_the_suite_chooses() -> None:
    """Neither the default task has a decoding, nor the default method a search."""
    found = plan(Request(("suite=generated_text", "task.decoding.beams=2")))
    assert [e.experiment.task.decoding.beams for e in found] == [2] * 4  # type: ignore[attr-defined]
    words = ("suite=figure3", "data=generated", "method.search.interval=4")
    found = plan(Request(words))
    assert {e.experiment.method.search.interval for e in found} == {4}  # type: ignore[attr-defined]
    assert words_for_hydra(Request(words)) == [*words[:2], "method.search.interval=choice(4)"]
    with pytest.raises(UserError, match=r"no setting method\.search\.interval with method=full"):
        plan(Request(("suite=table1", *words[1:])))


@pytest.mark.sample(keep=("method.allocation_seed=${.total}${seed}",))
@pytest.mark.parametrize(
    "word", ["data.generator_seed=${seed}", "results=runs/${seed}", "method.allocation_seed=${.total}${seed}"]
)
def test_what_is_interpolated_from_the_seed_is_of_each_seed(word: str) -> None:
    words = ("method=lora_random_ranks", "method.total=4", "data=generated", word)
    together = [e.folder for e in plan(Request((*words, "seed=0,1"), multirun=True))]
    assert together == [e.folder for seed in (0, 1) for e in plan(Request((*words, f"seed={seed}")))]
    assert len({folder.parent for folder in together}) == 2


CONTROLS = "method=autolora,lora_uniform,lora_random_ranks,lora_shuffled_ranks"


def cell_of(entry: PlannedRun) -> str:
    return entry.folder.parent.relative_to(entry.experiment.results).as_posix()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("task=rte", CONTROLS, "method.reference=autolora"), marks=pytest.mark.slow),
        pytest.param(
            ("task=rte", CONTROLS, "method.reference=autolora", "method.scaling=constant", "method.rank=2"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (
                "task=rte",
                CONTROLS,
                "method.reference=autolora",
                "~recipe",
                "train.epochs=2",
                "results=elsewhere",
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(("suite=controls", "task=rte", "method.learning_rate=1e-3"), marks=pytest.mark.slow),
        ("suite=minilm_glue", "task=cola", "method=autolora,lora_random_ranks", "data.dir=/none"),
    ],
)
def test_a_control_is_compared_with_the_run_of_the_same_words(words: tuple[str, ...]) -> None:
    """It is the sweep's own run, before that has been run; each control of every seed."""
    own = [word for word in words if "reference" not in word]
    said = own if "suite=controls" not in words else ["suite=table1", "method=autolora", *own[1:]]
    said = [word.replace(CONTROLS, "method=autolora") for word in said]
    controls = [word.replace("autolora,", "", 1) if word.startswith("method=") else word for word in words]
    data = ("data=generated",) if "data.dir=/none" not in words else ()
    [reference] = {
        cell_of(e)
        for e in plan(Request((*said, *data, "seed=0,1"), True))
        if e.experiment.method.name == "autolora"
    }
    found = plan(Request((*controls, *data, "seed=0,1"), True))
    assert len(found) in (2, 6)
    methods = [e.experiment.method for e in found]
    assert all(isinstance(m, RankedLoraConfig) for m in methods)
    assert {m.cell for m in methods} == {reference}  # type: ignore[attr-defined]
    again = [plan(Request(tuple(e.overrides)))[0] for e in found]
    assert [e.folder for e in again] == [e.folder for e in found]


def test_a_control_with_ranks_or_a_total_of_its_own_is_compared_with_no_run() -> None:
    for word in ("method.total=40", "method.reference=null"):
        [entry] = plan(Request(("task=rte", "method=lora_random_ranks", "data=generated", word)))
        assert getattr(entry.experiment.method, "cell", "none") is None
    with pytest.raises(UserError, match=r"method\.reference=lora is no method that learns ranks"):
        plan(Request(("task=rte", "method=lora_random_ranks", "data=generated", "method.reference=lora")))


def test_choices_of_a_suite_are_nothing_to_a_single_run(tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir()
    text = "# @package _global_\nhydra: {sweeper: {params: {task: 'cola,mrpc', method: autolora}}}\n"
    (tmp_path / "suite" / "mine.yaml").write_text(text)
    for multirun, expected in (
        (False, [("rte", "lora")]),
        (True, [("cola", "autolora"), ("mrpc", "autolora")]),
    ):
        found = plan(Request(("suite=mine", "data=generated"), multirun, tmp_path))
        assert [(e.experiment.task.name, e.experiment.method.name) for e in found] == expected


def test_a_pattern_stands_for_the_choices_that_fit_it() -> None:
    words = ("task=glob([r*,m*],exclude=mnli)", "method=lora", "data=generated")
    assert cells(*words, multirun=True) == [("mrpc", "lora", 0), ("rte", "lora", 0)]
    with pytest.raises(UserError, match="fits nothing"):
        cells("task=glob(z*)", multirun=True)


def test_several_values_need_a_sweep() -> None:
    with pytest.raises(UserError, match="several values") as caught:
        plan(Request(("task=rte,cola",)))
    assert caught.value.mend == "add -m for a sweep: autolora-bench -m ..."


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (("task=rte", "model.targets=query,value"), "model.targets=[query,value]"),
        (("task=planted", "model=small", "task.layers=0,1"), "task.layers=[0,1]"),
        (("task=rte", "method=lora", "method.rank=4,8"), None),
        (("task=rte", "seed=0,1"), None),
        (("task=planted", "model=small", "task.truth=choice(graded,uniform)"), None),
    ],
)
def test_forgotten_brackets_are_no_sweep(words: tuple[str, ...], setting: str | None) -> None:
    """Its two runs would adapt a kind of layer each."""
    with pytest.raises(UserError, match="several values") as caught:
        plan(Request((*words, "data=planted" if "task=planted" in words else "data=generated")))
    said = f"one list is written '{setting}'; add -m for a sweep" if setting else "add -m for a sweep"
    assert caught.value.mend.startswith(said)


def test_a_refusal_in_a_sweep_names_the_method_it_is_of() -> None:
    words = ("task=rte", "data=generated")
    with pytest.raises(UserError, match=r"^method=autolora: method\.rank=8 has no effect"):
        plan(Request((*words, "method=lora,autolora", "method.rank=8"), True))
    with pytest.raises(UserError, match=r"^method=lora_from_ranks: method\.allocation=given needs ranks"):
        plan(Request((*words, "method=glob([lora_from*,full])"), True))


def test_what_has_no_head_is_given_no_rate_for_it() -> None:
    """It would be another run of the same scores, which a report would not pair with the others."""
    rate = "train.head_learning_rate=0.1"
    planted = ("task=planted", "model=small", "method=lora")
    written = ("task=e2e", "model=gpt2", "method=lora", "data=generated")
    for words in (planted, written):
        with pytest.raises(UserError, match="which has no head"):
            plan(Request((*words, rate)))
        assert plan(Request((*words, "train.head_learning_rate=null")))
        with pytest.raises(UserError, match="which has no head"):
            plan(Request((*words, "train.head_learning_rate=null,0.1"), True))
    both = ("task=rte,e2e", "model=smollm2_135m", "method=lora", "data=generated", rate)
    assert len(plan(Request(both, True))) == 2
    suite = ("suite=fair", *planted, "data=planted", "method.learning_rate=1e-3", "seed=0")
    assert [run.experiment.train.head_learning_rate for run in plan(Request(suite))] == [1e-3]


PRODUCTS = [name for name in choices("suite", CONF) if name != "tune"]
"""Suites whose runs are known beforehand."""


def choices_of(suite: str) -> dict[str, list[str]]:
    """What a suite sweeps over."""
    params = OmegaConf.load(choices("suite", CONF)[suite]).hydra.sweeper.params
    return {
        name: [listed] if str(listed).startswith("[") else [value.strip() for value in str(listed).split(",")]
        for name, listed in params.items()
    }


@pytest.mark.parametrize("suite", PRODUCTS)
@pytest.mark.sample(one_in=8)
def test_the_first_run_of_every_suite_composes(suite: str) -> None:
    words = [f"{name}={listed[0]}" for name, listed in choices_of(suite).items()]
    found = plan(Request((f"suite={suite}", data_of(suite), *words)))
    assert len(found) + len(found.left_out) >= 1


@pytest.mark.sample(keep=("demo", "generated_text"))
@pytest.mark.parametrize(
    "suite", [name for name in PRODUCTS if name not in ("table5", "methods", "lora_rank")]
)
def test_every_choice_of_a_suite_composes(suite: str) -> None:
    """Each with the first choice of everything else; three suites have their own tests."""
    values = choices_of(suite)
    for varied in values.keys() - {"seed"}:
        words = [f"{name}={listed[0]}" for name, listed in values.items() if name != varied]
        found = plan(Request((f"suite={suite}", data_of(suite), *words)))
        beside = [e for e in found if is_beside(suite, e.experiment)]
        assert len(found) - len(beside) + len(found.left_out) == len(values[varied])


@pytest.mark.slow
@pytest.mark.parametrize("suite", PRODUCTS)
def test_every_suite_composes(suite: str) -> None:
    assert plan(Request((f"suite={suite}", data_of(suite))))


def is_beside(suite: str, experiment: Any) -> bool:
    """Whether a run is of the suite that this one names beside itself."""
    if suite == "arena":
        return bool(experiment.task.plant_seed == 0)
    return suite == "which_layers" and experiment.model.targets == ["query", "value"]


def data_of(suite: str) -> str:
    """Data without files."""
    return "data=planted" if suite.startswith(("arena", "which_layers")) else "data=generated"


@pytest.mark.slow
def test_the_arena_gives_every_allocator_one_grid_of_rates_one_budget_and_a_cell_of_its_own() -> None:
    found = [e.experiment for e in plan(Request(("suite=arena", "seed=0", "task.mode=equal")))]
    alone = [e for e in found if e.task.plant_seed is None]  # type: ignore[attr-defined]
    rates: dict[str, set[float]] = {}
    for one in alone:
        rates.setdefault(one.method.name, set()).add(one.method.learning_rate)
    assert len(alone) == 3 * len(rates)
    assert len(set(map(frozenset, rates.values()))) == 1
    cells = conf_dir() / "cell" / "planted"
    for one in found:
        method: Any = one.method
        assert (cells / f"{method.name}.yaml").is_file(), method.name
        assert getattr(method, "rank", None) == 4 or method.target_rank == 4
        if hasattr(method, "search"):
            assert method.search.learning_rate == method.learning_rate
            assert method.search.mean_rank in (None, 4.0)
    again = {e.method.name for e in found if e.task.plant_seed == 0}  # type: ignore[attr-defined]
    assert {"autolora", "autolora_topk", "lora_random_ranks"} <= again <= set(rates), "the suite beside it"


FOR_SEARCHES = {"lora_uniform", "lora_shuffled_ranks", "lora_from_ranks"}
"""Controls for ranks that a finished search left: suite=controls."""
NOT_IN_METHODS = FOR_SEARCHES | {"oracle", "reversed"} | {"peft"}
"""Two are for planted ranks alone (suite=arena), the last is every type of PEFT (suite=peft_all)."""


def test_the_suite_of_methods_names_every_method_of_its_own() -> None:
    assert set(choices_of("methods")["method"]) == set(choices("method", CONF)) - NOT_IN_METHODS


@pytest.mark.slow
def test_the_suite_of_methods_has_every_method_of_its_own(tmp_path: Path) -> None:
    found = plan(Request(("suite=methods", "data=generated", "task=e2e", "model=smollm2_135m")))
    assert {e.experiment.method.name for e in found} == set(choices("method", CONF)) - NOT_IN_METHODS - {
        *("bitfit", "head_only"),
    }
    assert found.left_out == [
        "method=head_only does not work on generation (task=e2e): a language model gets no new head",
        "method=bitfit does not work on a llama model: it has no bias terms",
    ]


def test_the_suite_of_methods_gives_minilm_its_own_settings() -> None:
    """The runs are those of suite=minilm_glue."""
    words = ("task=rte", "data=local", "data.dir=/none", "seed=0", "method=lora,autolora,adapter")
    ours, theirs = (
        [e.folder for e in plan(Request((f"suite={name}", *words)))] for name in ("methods", "minilm_glue")
    )
    assert ours == theirs


@pytest.mark.slow
def test_the_suite_of_methods_gives_minilm_one_rate_but_for_methods_with_one_of_their_own() -> None:
    found = plan(Request(("suite=methods", "data=generated")))
    cells = conf_dir() / "cell" / "minilm"
    own = {e.experiment.method.name for e in found if e.experiment.method.learning_rate != 1e-3}
    assert own == {"full", "ia3", "prefix_tuning", "prompt_tuning"}
    assert all((cells / f"{name}.yaml").is_file() for name in own)
    assert all(e.experiment.train.epochs == 1 for e in found)


@pytest.mark.parametrize(
    "words", [("task=rte", "method=lora,llama_adapter"), ("task=rte,e2e", "method=llama_adapter")]
)
def test_a_sweep_leaves_out_what_a_method_does_not_work_on(words: tuple[str, ...]) -> None:
    found = plan(Request((*words, "model=any", "data=generated"), multirun=True))
    assert len(found) == 1
    [line] = found.left_out
    assert line.startswith("method=llama_adapter does not work on classification (task=rte)")
    assert plan(Request(tuple(found[0].overrides))).left_out == []


@pytest.mark.parametrize("multirun", [False, True])
def test_nothing_but_what_a_method_does_not_work_on_is_refused(multirun: bool) -> None:
    words = ("task=rte", "method=llama_adapter", "data=generated", *(("seed=0,1",) if multirun else ()))
    with pytest.raises(UserError, match="does not work on classification"):
        plan(Request(words, multirun))


def test_controls_ask_for_the_searches_they_are_about(tmp_path: Path) -> None:
    """Those that are not there, unless the same words run them."""
    words = ("suite=controls", "data=generated", f"results={tmp_path}", "task=rte", "seed=0")
    found = plan(Request(words))
    [first, *_] = missing = missing_references(found)
    assert len(missing) == 3
    assert first.startswith(f"{tmp_path}/rte/roberta_base/autolora-")
    searches = plan(Request((*words[1:], "suite=table1", "method=autolora")))
    assert missing_references(found, searches) == missing_references([*searches, *found]) == []
    assert len(missing_references([*found, *searches])) == 3  # a control before its search finds nothing
    with pytest.raises(
        UserError, match=r"there is no .*/seed0, a finished run of autolora for lora_uniform, and 2"
    ):
        launch.run(words)


def test_minilms_controls_are_trained_as_its_searches_are(tmp_path: Path) -> None:
    """After suite=methods, the three methods that it leaves to suite=controls: each with MiniLM's cell and recipe."""
    words = ("task=rte", "data=generated", f"results={tmp_path}", "seed=0", "train.group_by_length=true")
    words += ("train=reference",)
    [search] = plan(Request(("suite=methods", "method=autolora", *words)))
    cell = search.experiment
    record = RunRecord("rte", "minilm", "autolora", config_id(cell), 0, Status.completed, {}, "")
    record.ranks = [LayerRank(f"layer.{b}.{p}", b, p, 3) for b in range(6) for p in ("query", "value")]
    write_record(search.folder, record)
    found = plan(Request(("suite=controls", "model=minilm", "recipe=minilm/rte", *words)))
    assert {e.experiment.method.name for e in found} == FOR_SEARCHES - {"lora_from_ranks"} | {
        "lora_random_ranks"
    }
    assert missing_references(found) == []
    for control in (entry.experiment for entry in found):
        assert control.method.learning_rate == cell.method.learning_rate == 1e-3
        assert control.train == cell.train
        assert control.method.cell == f"rte/minilm/autolora-{config_id(cell)}"  # type: ignore[attr-defined]


TASKS, METHODS = choices("task", CONF), choices("method", CONF)


def is_quick(task: str, method: str) -> bool:
    """All tasks, and some of the methods with a task of text and one that makes text; test_validate.py has all."""
    turn = sorted(METHODS).index(method) % 12
    return method == "autolora" or turn == {"mrpc": 0, "e2e": 3}.get(task)


@pytest.mark.parametrize(
    ("task", "method"),
    [
        pytest.param(*pair, marks=[] if is_quick(*pair) else pytest.mark.slow)
        for pair in product(TASKS, METHODS)
    ],
)
def test_every_task_and_method_compose(task: str, method: str) -> None:
    with composer():
        config = compose_config([f"task={task}", f"method={method}", "data=generated"])
    assert (config.task.name, config.method.name) == (task, method)


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("model", choices("model", CONF))
def test_every_model_composes(model: str) -> None:
    words = ("task=planted",) if model in ("small", "small_bert") else ("data=generated",)
    [entry] = plan(Request((f"model={model}", *words)))
    assert entry.experiment.model.name == model


@pytest.mark.parametrize("group", ["task", "method", "model", "suite"])
def test_every_choice_says_what_it_is(group: str) -> None:
    for name, path in choices(group, CONF).items():
        lines = path.read_text(encoding="utf-8").splitlines()
        comments = [line for line in lines[:2] if line.startswith("# ") and "@package" not in line]
        assert comments, f"{group}={name} has no first comment line"


def test_config_dir_comes_first(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("# mine\ndefaults: [lora]\nname: mine\nrank: 2\n")
    [entry] = plan(Request(("method=mine", "data=generated"), config_dir=tmp_path))
    assert entry.experiment.method.name == "mine"
    assert entry.overrides[:2] == ("--config-dir", str(tmp_path))


def test_a_suite_runs_those_beside_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(launch, "sweep", lambda words, job: asked.append(words))
    launch.run(["suite=table5", "task=sst2", "data=generated", f"results={tmp_path}"])
    own, grid = asked
    assert "suite=table5" in own
    assert "suite=lora_grid" in grid
    assert "suite=table5" not in grid
    assert set(own) - {"suite=table5"} == set(grid) - {"suite=lora_grid"}


def test_nothing_cannot_be_said_of_what_a_sweep_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "-m",
        "task=rte",
        "data=generated",
        "method=autolora,autolora_topk",
        "method.search.max_steps=null",
    ]
    for command in (["check"], []):
        assert cli.run([*command, *words]) == 2
        assert "cannot be said in a sweep of method" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["+method.settings={r: 4},{r: 8}", "+method.settings.r=4,8"])
def test_settings_that_are_added_can_be_swept(word: str) -> None:
    planned = plan(Request(("task=rte", "data=generated", "method=peft", "method.type=LORA", word), True))
    assert [entry.experiment.method.settings for entry in planned] == [{"r": 4}, {}]  # type: ignore[attr-defined]


FEW_ROWS = "task.rows={train: 64, validation: 16, test: 16}"
PLANTED = ("-m", "task=planted", "model=small", FEW_ROWS, "train.max_steps=1", "device=cpu", "method=lora")


def test_starting_again_makes_a_run_once_however_often_it_is_spelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*PLANTED, f"results={tmp_path}", "method.learning_rate=1e-3,0.001", "rerun=all"]
    assert cli.run(line) == 0
    assert capsys.readouterr().err.count("planted lora on small, planted data, seed 0  ->") == 1


def test_runs_of_one_sweep_may_lie_in_several_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*PLANTED, f"results={tmp_path}/of_${{seed}}", "seed=0,1"]
    assert cli.run(line) == 0
    capsys.readouterr()
    assert cli.run(["report", *line]) == 0
    assert "missing" not in capsys.readouterr().out


def test_a_copy_of_another_seeds_run_is_no_run_of_this_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*PLANTED, f"results={tmp_path}"]
    assert cli.run(line) == 0
    (made,) = tmp_path.glob("planted/small/*/seed0")
    shutil.copytree(made, made.with_name("seed1"))
    capsys.readouterr()
    assert cli.run(["status", *line, "seed=0,1"]) == 0
    assert "1 completed, 1 unreadable" in capsys.readouterr().out
    assert cli.run([*line, "seed=0,1"]) == 2
    assert "is the record of seed 0, in the folder of seed 1" in capsys.readouterr().err


def test_a_control_waits_for_the_run_that_another_process_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ownership, "WAITING_SECONDS", 0.01)
    words = [*PLANTED[:-1], f"results={tmp_path}"]
    assert cli.run([*words, "method=autolora"]) == 0
    (made,) = tmp_path.glob("planted/small/autolora-*/seed0")
    record = (made / "run.json").read_bytes()
    (made / "run.json").unlink()
    held, waiting = Event(), Event()

    def make() -> None:
        with owned(made):
            held.set()
            waiting.wait(60)
            (made / "run.json").write_bytes(record)

    usual = ownership.wait_until_free

    def told(folder: Path) -> None:
        Timer(0.2, waiting.set).start()
        usual(folder)

    monkeypatch.setattr(launch, "wait_until_free", told)
    other = Thread(target=make)
    other.start()
    held.wait(60)
    status = cli.run([*words, "method=autolora,lora_shuffled_ranks"])
    other.join()
    assert status == 0
    said = capsys.readouterr().err
    assert f"{made} is being run by" in said
    assert "2 completed" in said


def test_a_control_waits_for_no_lock_beside_ranks_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A node that was killed between the record and the lock's end leaves such a lock, and nobody can ask it."""
    words = [*PLANTED[:-1], f"results={tmp_path}"]
    assert cli.run([*words, "method=stable_rank"]) == 0
    (made,) = tmp_path.glob("planted/small/stable_rank-*/seed0")
    owner = ownership.Owner("another", 1, "x 1", "2026-01-01T00:00:00+00:00")
    (made / ownership.LOCK).write_text(json.dumps(asdict(owner)))
    assert cli.run([*words, "method=lora_shuffled_ranks", "method.reference=stable_rank"]) == 0
    assert "waiting" not in capsys.readouterr().err
