"""Kept compositions: the same plan as composing anew, forgotten as soon as anything it rests on changes."""

import json
import pickle
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import pytest

from autolora_bench import sweeps
from autolora_bench.config import jobs
from autolora_bench.config.choices import choices
from autolora_bench.config.compose import compose_config, composer, to_objects
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.config.parts import PartComposer
from autolora_bench.paths import conf_dir
from autolora_bench.plan import PlannedRun
from autolora_bench.plan_cache import from_plain, to_plain
from autolora_bench.request import Request
from autolora_bench.sweeps import plan, plan_jobs

WORDS = ("task=rte,cola", "method=lora,autolora", "seed=0,1", "data=generated")
TASKS = list(choices("task", [conf_dir()]))
METHODS = [name for name in choices("method", [conf_dir()]) if name != "peft"]
"""That one asks for a type beside: tests/config/test_peft_method.py."""
PAIRS = list(zip(cycle(TASKS), METHODS, strict=False))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "plans"


def planned(*words: str, folder: Path | None = None) -> list[PlannedRun]:
    said = {word.partition("=")[0]: word for word in (*WORDS, *words)}
    return plan(Request(tuple(said.values()), True, folder))


def composes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with every composition from here on."""
    calls: list[object] = []
    inner = sweeps.compose_config
    monkeypatch.setattr(sweeps, "compose_config", lambda words: calls.append(words) or inner(words))
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
    """Jobs are composed by the composer of the request before, unless a file has changed meanwhile."""
    file = tmp_path / "mine" / "recipe" / "rte.yaml"
    file.parent.mkdir(parents=True)
    epochs = []
    for words, value in ((("seed=0,1",), 2), (("seed=2,3",), 5), (("seed=2,3", "train.batch_size=4"), 5)):
        file.write_text(f"# @package _global_\ntrain:\n  epochs: {value}\n")
        runs = planned("task=rte", "method=lora", *words, folder=tmp_path / "mine")
        epochs.append([run.experiment.train.epochs for run in runs])
    assert epochs == [[2.0, 2.0], [5.0, 5.0], [5.0, 5.0]]


def test_jobs_of_the_next_request_are_composed_from_what_is_composed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("task=rte", "data=generated")
    first = plan_jobs(Request(()), [(*words, "method=lora", "seed=5")])
    made: list[object] = []
    inner = PartComposer.__call__
    monkeypatch.setattr(
        PartComposer, "__call__", lambda self, words: made.append(words) or inner(self, words)
    )
    again = plan_jobs(
        Request(()), [(*words, "method=lora", "train.epochs=7"), (*words, "method=full", "seed=5")]
    )
    assert made == [(*words, "method=full")]
    assert [run.experiment.train.epochs for run in again] == [7, first[0].experiment.train.epochs]


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
@pytest.mark.sample(one_in=4)
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
