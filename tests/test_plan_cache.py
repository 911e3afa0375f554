"""Kept compositions: the same plan as composing anew, forgotten as soon as anything it rests on changes."""

import json
import pickle
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import pytest

from autolora_bench.config import jobs
from autolora_bench.config.choices import choices
from autolora_bench.config.compose import compose_config, composer, to_objects
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.config.parts import PartComposer
from autolora_bench.paths import conf_dir
from autolora_bench.plan import PlannedRun
from autolora_bench.request import Request
from autolora_bench.sweeps import expansion
from autolora_bench.sweeps.expansion import plan
from autolora_bench.sweeps.plan_cache import PlanCache, from_plain, to_plain
from autolora_bench.sweeps.tuned_first import planned_runs

WORDS = ("task=rte,cola", "method=lora,autolora", "seed=0,1", "data=generated")
TASKS = list(choices("task", [conf_dir()]))
METHODS = [name for name in choices("method", [conf_dir()]) if name != "peft"]
"""That one asks for a type beside: tests/config/test_peft_method.py."""
PAIRS = list(zip(cycle(TASKS), METHODS, strict=False))


@pytest.fixture
def cache(own_cache: Path) -> Path:
    return own_cache / "plans"


def planned(*words: str, folder: Path | None = None) -> list[PlannedRun]:
    said = {word.partition("=")[0]: word for word in (*WORDS, *words)}
    return plan(Request(tuple(said.values()), True, folder))


def composes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with every composition from here on."""
    calls: list[object] = []
    inner = expansion.compose_config
    monkeypatch.setattr(expansion, "compose_config", lambda words: calls.append(words) or inner(words))
    return calls


@pytest.mark.parametrize(("task", "method"), PAIRS)
@pytest.mark.sample(one_in=16)
def test_plain_values_give_the_same_objects(task: str, method: str) -> None:
    with composer():
        cell = to_objects(compose_config([f"task={task}", f"method={method}", "data=hub"]))
    again = from_plain(json.loads(json.dumps(to_plain(cell))), ExperimentConfig)
    assert again == cell
    assert type(again.task) is type(cell.task)
    assert config_id(again) == config_id(cell)


def test_the_second_plan_is_the_first_one_and_composes_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = planned()
    calls = composes(monkeypatch)
    assert planned() == first
    assert calls == []
    assert [run.experiment.seed for run in first] == [0, 1] * 4


def test_seeds_do_not_share_what_checking_fills_in(cache: Path) -> None:
    one, other = planned()[:2]
    assert one.experiment.method == other.experiment.method
    assert one.experiment.method is not other.experiment.method


def test_other_words_are_another_plan(cache: Path) -> None:
    words = ("task=rte", "method=lora")
    assert [run.identity for run in planned(*words, "train.epochs=2")] != [
        run.identity for run in planned(*words)
    ]


def test_a_changed_file_of_the_user_is_seen(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine" / "recipe" / "rte.yaml"
    file.parent.mkdir(parents=True)
    epochs = []
    for value in (2, 5):
        file.write_text(f"# @package _global_\ntrain:\n  epochs: {value}\n")
        [run, _] = planned("task=rte", "method=lora", folder=tmp_path / "mine")
        epochs.append(run.experiment.train.epochs)
    assert epochs == [2.0, 5.0]


def test_so_is_one_in_a_folder_that_a_method_of_the_user_imports(cache: Path, tmp_path: Path) -> None:
    """What a method does is part of a run's name, and so of the run that a control is compared with."""
    file = tmp_path / "mine" / "methods" / "_parts" / "deep.py"
    file.parent.mkdir(parents=True)
    names = set()
    for value in (2, 5):
        file.write_text(f"SHIFT = {value}\n")
        names.add(PlanCache(["task=rte", "method=lora"], [tmp_path / "mine"]).key)
    assert len(names) == 2


def test_of_cells_that_differ_in_their_seed_alone_one_is_kept_whole(cache: Path) -> None:
    first = planned("task=rte", "data.generator_seed=${seed}", "seed=0,1,2")
    (file,) = cache.iterdir()
    assert [type(plain) for *_, plain in json.loads(file.read_text())] == [dict] * 6
    first += planned("task=rte", "seed=0,1,2")
    (other,) = {*cache.iterdir()} - {file}
    assert [type(plain) for *_, plain in json.loads(other.read_text())] == [dict, int, int] * 2
    again = planned("task=rte", "data.generator_seed=${seed}", "seed=0,1,2") + planned(
        "task=rte", "seed=0,1,2"
    )
    assert again == first
    assert [run.experiment.data.generator_seed for run in again[:3]] == [0, 1, 2]


def test_a_changed_file_is_seen_by_what_composed_before(cache: Path, tmp_path: Path) -> None:
    """In one process, as in a notebook."""
    file = tmp_path / "mine" / "recipe" / "rte.yaml"
    file.parent.mkdir(parents=True)
    epochs = []
    for words, value in ((("seed=0,1",), 2), (("seed=2,3",), 5), (("seed=2,3", "train.batch_size=4"), 5)):
        file.write_text(f"# @package _global_\ntrain:\n  epochs: {value}\n")
        runs = planned("task=rte", "method=lora", *words, folder=tmp_path / "mine")
        epochs.append([run.experiment.train.epochs for run in runs])
    assert epochs == [[2.0, 2.0], [5.0, 5.0], [5.0, 5.0]]


def test_tuned_jobs_are_composed_from_what_was_swept_and_no_other_command_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    inner = PartComposer.__call__
    monkeypatch.setattr(
        PartComposer, "__call__", lambda self, words: made.append(words) or inner(self, words)
    )
    words = ("suite=fair", "task=rte", "data=generated", "method=lora,full", "results=none")
    first = planned_runs(Request((*words, "seed=0,1")))
    assert len(made) == 2
    assert len(first) == 6
    planned_runs(Request((*words, "seed=0,1,2")))
    assert len(made) == 4  # anew: data that a control's name follows from may have changed


def test_a_control_of_ones_own_table_is_compared_with_the_run_on_the_table_as_it_is(
    cache: Path, tmp_path: Path
) -> None:
    """Its reference is named by what is in the table, which no configuration file says."""
    table = tmp_path / "d.csv"
    words = (
        f"task=any data.train={table} method=lora_shuffled_ranks method.reference=autolora data=files".split()
    )
    sources = []
    for count in (2, 3):
        rows = [f"a text of many words number {n},class {n % count}" for n in range(60)]
        table.write_text("\n".join(["text,label", *rows]))
        for seeds in ("0,1", "0,1,2"):
            runs = plan(Request((*words, f"seed={seeds}"), True))
            sources.append({run.experiment.method.source for run in runs})  # type: ignore[attr-defined]
    assert sources[0] == sources[1] != sources[2] == sources[3]
    assert not cache.exists()


@pytest.mark.parametrize("word", ["", "hydra.searchpath=[file://{there}]"])
def test_files_that_are_reached_by_a_link_or_a_word_are_seen(word: str, cache: Path, tmp_path: Path) -> None:
    there, mine = tmp_path / "there", tmp_path / "mine"
    (there / "recipe").mkdir(parents=True)
    mine.mkdir()
    if not word:
        (mine / "recipe").symlink_to(there / "recipe")
    epochs = []
    for value in (2, 5):
        (there / "recipe" / "rte.yaml").write_text(f"# @package _global_\ntrain:\n  epochs: {value}\n")
        said = {name.partition("=")[0]: name for name in (*WORDS, "task=rte", "method=lora")}
        words = (*said.values(), *([word.format(there=there)] if word else []))
        epochs.append(plan(Request(words, True, None if word else mine))[0].experiment.train.epochs)
    assert epochs == [2.0, 5.0]


def test_seeds_of_a_kept_plan_share_nothing(cache: Path) -> None:
    words = ("task=rte", "method=lora", "+method.variant.options.trainable_token_indices=[7]", "seed=0,1,2")
    for runs in (planned(*words), planned(*words)):
        first, second, _ = (run.experiment.method.variant.options for run in runs)  # type: ignore[attr-defined]
        assert first == second == {"trainable_token_indices": [7]}
        assert first["trainable_token_indices"] is not second["trainable_token_indices"]


@pytest.mark.parametrize(
    "torn",
    [
        "",
        "[]]",
        '[["a"]]',
        '[[["seed=0"], 0, {"task": 3}]]',
        '[[["a"], 0, {"class": "Nope"}]]',
        '[[["a"], 0, 7]]',
    ],
)
@pytest.mark.sample(keep=('[[["a"], 0, 7]]',))
def test_a_torn_file_is_composed_again(torn: str, cache: Path) -> None:
    first = planned()
    (file,) = cache.iterdir()
    file.write_text(torn)
    assert planned() == first


def test_a_kept_plan_of_a_method_that_is_gone_is_composed_again(cache: Path) -> None:
    first = planned()
    (file,) = cache.iterdir()
    file.write_text(file.read_text().replace("LoraConfig", "GoneConfig"))
    assert "GoneConfig" in file.read_text()
    assert planned() == first


def test_settings_that_pickle_refuses_are_made_for_each_job(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = planned()
    for file in cache.iterdir():
        file.unlink()

    def dumps(node: object) -> bytes:
        if isinstance(node, ExperimentConfig):
            raise AttributeError("Can't pickle local object")
        return pickle.dumps(node)

    monkeypatch.setattr(jobs, "pickle", SimpleNamespace(dumps=dumps, loads=pickle.loads))
    assert planned() == first


def test_what_asks_the_environment_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for value in ("one", "two"):
        monkeypatch.setenv("WHERE", value)
        [run, _] = planned("task=rte", "method=lora", "results=${oc.env:WHERE}")
        folders.append(str(run.folder).partition("/")[0])
    assert folders == ["one", "two"]


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "file"))
    assert len(planned()) == 8
