"""A folder of --config-dir may be a stranger's: what it names is never called, and reading it comes to an end."""

import os
import pickle
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from autolora_bench import cli
from autolora_bench.config.own_folder import check_own_folder
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir

SUITE = "# @package _global_\n"
SWEEP = SUITE + "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params: {task: rte, method: lora, seed: '0,1'}\n"
WORDS = ("data=generated", "data.limit=16", "data.limit_evaluation=4", "model=any", "train.max_steps=1")


class Mark:
    """A pickle that leaves a folder behind where it is loaded."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_a_suite_calls_nothing(
    tmp_path: Path, tiny_encoder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "marker.npy").write_bytes(pickle.dumps(Mark(tmp_path / "called")))
    callback = "  callbacks:\n    mine: {_target_: numpy.load, file: marker.npy, allow_pickle: true}\n"
    write(tmp_path / "conf", suite__mine=SWEEP + callback)
    words = [*WORDS, f"model.checkpoint={tiny_encoder}", "device=cpu"]
    assert cli.run(["--config-dir", "conf", "suite=mine", *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0] == "autolora-bench: conf/suite/mine.yaml says hydra.callbacks"
    assert not (tmp_path / "called").exists()
    np.load("marker.npy", allow_pickle=True)  # the mark does appear where somebody calls it
    assert (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"suite__x": SUITE + "hydra: {callbacks: {a: {_target_: os.system}}}"}, "hydra.callbacks"),
        ({"suite__x": SUITE + "hydra: {launcher: {_target_: os.system}}"}, "hydra.launcher._target_"),
        ({"suite__x": SUITE + "hydra: {launcher: {setup: [rm x]}}"}, "hydra.launcher.setup"),
        ({"suite__x": SUITE + "hydra: {sweeper: {custom_search_space: a.b}}"}, "custom_search_space"),
        ({"suite__x": SUITE + "hydra: {sweeper: {sampler: {_target_: a.b}}}"}, "hydra.sweeper.sampler._target_"),
        ({"suite__x": SUITE + "hydra: {job: {env_set: {JAVA_TOOL_OPTIONS: -x}}}"}, "hydra.job"),
        ({"suite__x": SUITE + "hydra: {job_logging: {handlers: {a: {(): os.system}}}}"}, "hydra.job_logging"),
        ({"suite__x": SUITE + "hydra: {searchpath: [pkg://os]}"}, "hydra.searchpath"),
        ({"suite__x": SUITE + "hydra: {sweep: {dir: /tmp}}"}, "hydra.sweep"),
        ({"suite__x": SUITE + "hydra: {sweeper: {params: {+hydra.job.env_set.A: 1}}}"}, "+hydra.job.env_set.A"),
        ({"suite__x": SUITE + "hydra: {sweeper: {params: {cell@hydra.job: x}}}"}, "cell@hydra.job"),
        ({"suite__x": SUITE + "hydra: {sweeper: {params: {cell: ../../x}}}"}, "cell: ../../x"),
        ({"hydra__callbacks__x": "a: {_target_: os.system}"}, "hydra/callbacks/x.yaml"),
        ({"cell__x": "# @package hydra.job\nenv_set: {A: 1}"}, "cell/x.yaml"),
        ({"cell__x": "#  @package  _global_.hydra\ncallbacks: {}"}, "cell/x.yaml"),
        ({"suite__x": SUITE + "defaults: [y@hydra.job]"}, "y@hydra.job"),
        ({"suite__x": SUITE + "defaults: [{/cell@_global_.hydra.job: y}]"}, "_global_.hydra.job"),
        ({"suite__x": SUITE + "defaults: [{override /hydra/callbacks: y}]"}, "/hydra/callbacks"),
        ({"suite__x": SUITE + "defaults: [{override /hydra/launcher: mine}]"}, "/hydra/launcher: mine"),
        ({"suite__x": SUITE + "defaults: [/hydra/callbacks/y]"}, "/hydra/callbacks/y"),
        ({"suite__x": SUITE + "defaults: [{/cell: ../../outside/y}]"}, "../../outside/y"),
        ({"task__x": "name: x\nhub: {columns: {_target_: os.system}}"}, "task/x.yaml"),
        ({"task__x": 'name: x\n"_t\\x61rget_": os.system'}, "_target_"),
        ({"suite__x": SUITE + "hydra: {sweeper: {params: {+task.a: '{_target_: os.system}'}}}"}, "params.+task.a"),
        ({"task__x": "name: x\ntitle: ${oc.env:SECRET}"}, "title: ${oc.env:SECRET}"),
        ({"task__x": "name: x\ntitle: ${oc.${y}:SECRET}"}, "title"),
        ({"method__m": "defaults: [m]"}, "method/m -> method/m"),
        ({"task__demo": "name: demo"}, "conf/cell/demo holds settings of methods for something else of that name"),
        ({"method__lora": "title: mine"}, "has the name of a file that is shipped, conf/method/lora.yaml"),
        ({"method__a": "defaults: [b]", "method__b": "defaults: [/cell/c]", "cell__c": "defaults: [/method/a]"}, "a"),
        ({"task__x": "[" * 20_000}, "levels deep"),
        ({"task__x": "a: &a [*a]"}, "contains itself"),
        ({"task__x": "x" * 300_000}, "bytes"),
        ({"task__x": "a: " + "9" * 5_000}, "cannot be read"),
        ({"task__x": "a: 2024-13-45"}, "cannot be read"),
    ],
)  # fmt: skip
def test_what_a_folder_may_not_hold(tmp_path: Path, files: dict[str, str], named: str) -> None:
    write(tmp_path, **files)
    with pytest.raises(UserError) as error:
        check_own_folder(tmp_path)
    assert named in error.value.what
    assert any(name.split("__")[-1] + ".yaml" in error.value.what for name in files)
    assert error.value.mend


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("words", [["ls", "tasks"], ["check", "task=jokes"], ["status", "task=jokes"], []])
@pytest.mark.parametrize("content", [BOMB, "defaults: [jokes]\n", "[" * 20_000])
@pytest.mark.sample(keep=("content0", "defaults: [jokes]\\n", "words1"))
def test_every_command_refuses_the_file_at_once(
    words: list[str], content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, task__jokes=content)
    assert cli.run([*words, "--config-dir", str(tmp_path), *(() if words else ("task=jokes",))]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/task/jokes.yaml" in said
    assert len(said.splitlines()) == 2


def test_many_files_that_include_each_other_twice(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(30)]
    for name, following in pairwise(names):
        write(tmp_path, **{f"cell__{name}": f"defaults: [{following}@a, {following}@b]\n"})
    write(tmp_path, cell__m29="a: 1\n")
    with pytest.raises(UserError, match=r"includes \d+ files"):
        check_own_folder(tmp_path)


def test_folders_and_files_that_are_linked_are_read_too(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", x="a: {_target_: os.system}")
    own = tmp_path / "own"
    own.mkdir()
    (own / "task").symlink_to(tmp_path / "elsewhere")
    (own / "ring").symlink_to(own)
    with pytest.raises(UserError, match=r"task/x.yaml names something to be called: a._target_"):
        check_own_folder(own)
    (own / "task").unlink()
    os.mkfifo(own / "pipe.yaml")
    with pytest.raises(UserError, match=r"pipe.yaml is no file"):
        check_own_folder(own)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({f"x{n}": f"${{task.hub.columns.x{n + 1}}}${{.x{n + 1}}}" for n in range(40)}, "too long"),
        ({"a": "${.b}", "b": "${task.hub.columns.a}"}, "interpolated from itself"),
        ({"a": "${task.hub}"}, "interpolated from itself"),
        ({f"x{n}": f"${{.x{n + 1}}}" for n in range(3000)}, "interpolated from more than 50 others"),
    ],
)
@pytest.mark.sample(keep=("columns0", "columns1"))
def test_interpolations_that_do_not_end(
    columns: dict[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"    {name}: '{value}'\n" for name, value in columns.items())
    write(tmp_path, task__own=f"defaults: [rte]\nname: own\nhub:\n  columns:\n{lines}    end: text\n")
    assert cli.run(["check", "--config-dir", str(tmp_path), "task=own", "data=generated"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "task.hub" in error


def test_a_ring_that_only_composing_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, method__m="defaults: ['${method}']\nname: m\n")
    assert cli.run(["check", "--config-dir", str(tmp_path), "task=rte", "method=m", "data=generated"]) == 2
    assert "configuration:" in capsys.readouterr().err


def test_what_the_project_ships_may_stand_in_an_own_folder(tmp_path: Path) -> None:
    for group in ("suite", "task", "method", "model", "train", "data", "recipe", "cell"):
        shutil.copytree(conf_dir() / group, tmp_path / group)
    check_own_folder(tmp_path)
    words = "hydra: {mode: MULTIRUN, launcher: {n_jobs: 2}, sweeper: {n_trials: 3, direction: maximize}}\n"
    write(tmp_path, suite__x=SUITE + "defaults: [{override /hydra/launcher: joblib}]\n" + words)
    check_own_folder(tmp_path)
