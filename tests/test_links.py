"""A run clears and overwrites what the product made, and nothing else: no link is followed, no stranger's file goes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora_bench import cli
from autolora_bench.errors import UserError
from autolora_bench.record import find_records, write_atomically
from autolora_bench.run_files import RUN, clear, link_in
from tests.conftest import files

SMALL = [
    "task=sst2",
    "model=any",
    "data=generated",
    "data.limit=16",
    "data.limit_evaluation=8",
    "device=cpu",
    "method=lora",
    "train.epochs=1",
    "train.batch_size=8",
    "~recipe",
    "~cell",
]


@pytest.fixture(scope="module")
def made(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """A command line without results, and the results of its run."""
    line, results = [*SMALL, f"model.checkpoint={tiny_encoder}"], tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        assert cli.run([*line, f"results={results}"]) == 0
    return line, results


@pytest.fixture
def copied(made: tuple[list[str], Path], own_cache: Path, tmp_path: Path) -> tuple[list[str], Path]:
    """The command line with results of its own, and the run's folder there."""
    line, results = made
    shutil.copytree(results, tmp_path / "runs")
    return [*line, f"results={tmp_path / 'runs'}"], next(find_records(tmp_path / "runs")).parent


PLACES: dict[str, Callable[[Path], Path]] = {
    "task": lambda run: run.parents[2],
    "model": lambda run: run.parents[1],
    "method": lambda run: run.parents[0],
    "seed": lambda run: run,
    "phase": lambda run: run / "finetune",
    "checkpoints": lambda run: run / "finetune" / "checkpoints",
    "a checkpoint": lambda run: run / "finetune" / "checkpoints" / "checkpoint-3",
    "export": lambda run: run / "finetune" / "export",
    "weights": lambda run: run / "finetune" / "weights.safetensors",
    "a file of the export": lambda run: run / "finetune" / "export" / "adapter_model.safetensors",
    "record": lambda run: run / "run.json",
    "record being written": lambda run: run / ".run.json.writing",
    "lock": lambda run: run / "run.lock",
}


@pytest.mark.parametrize(
    ("place", "policy"),
    [*((place, "all") for place in PLACES), ("seed", "missing"), ("checkpoints", "missing")],
)
def test_a_link_below_the_results_is_refused_and_what_lies_behind_it_stays(
    copied: tuple[list[str], Path],
    place: str,
    policy: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line, run = copied
    link, behind = PLACES[place](run), tmp_path / "behind"
    if policy == "missing" and (run / "run.json").exists():
        (run / "run.json").unlink()
    if link.is_dir():
        link.rename(behind)
        (behind / "notes.txt").write_text("mine")
    elif link.is_file():
        link.rename(behind)
    else:
        link.parent.mkdir(exist_ok=True, parents=True)
        behind.mkdir() if "checkpoint" in place else behind.write_text("mine")
    if behind.is_dir():
        (behind / "checkpoint-1").mkdir()
        (behind / "checkpoint-1" / "optimizer.pt").write_text("mine")
    link.symlink_to(behind)
    before = files(behind) if behind.is_dir() else behind.read_bytes()
    assert cli.run([*line, f"rerun={policy}"]) == 2
    said = capsys.readouterr().err
    assert f"{link} is a link" in said
    assert "1 refused" in said
    assert "Traceback" not in said
    assert (files(behind) if behind.is_dir() else behind.read_bytes()) == before
    assert link.is_symlink()


def test_a_link_to_nothing_is_refused_too(copied: tuple[list[str], Path], tmp_path: Path) -> None:
    line, run = copied
    shutil.rmtree(run)
    run.symlink_to(tmp_path / "nothing")
    assert cli.run(line) == 2
    assert not (tmp_path / "nothing").exists()


def test_the_results_folder_itself_may_be_a_link(copied: tuple[list[str], Path], tmp_path: Path) -> None:
    line, run = copied
    (tmp_path / "runs").rename(tmp_path / "disk")
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    assert cli.run([*line, "rerun=all"]) == 0
    assert (run / "finetune" / "weights.safetensors").is_file()


STRANGERS = [
    "notes.txt",
    "mine.json",
    "finetune/notes.txt",
    "finetune/run.json.bak",
    "finetune/export/notes.txt",
    "finetune/checkpoints/notes.txt",
    "finetune/checkpoints/checkpoint-old/optimizer.pt",
    "finetune/checkpoints/checkpoint-7/notes.txt",
    "evaluate/errors.csv",
    "figures/a/b.svg",
    ".hidden",
]


def test_starting_again_leaves_what_is_not_the_runs(copied: tuple[list[str], Path]) -> None:
    line, run = copied
    for name in STRANGERS:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(f"mine: {name}")
    (run / "finetune/checkpoints/checkpoint-7/trainable.safetensors").write_text("of an attempt before")
    assert cli.run([*line, "rerun=all"]) == 0
    found = files(run)
    assert {name: found.get(name) for name in STRANGERS} == {
        name: f"mine: {name}".encode() for name in STRANGERS
    }
    assert "finetune/checkpoints/checkpoint-7/trainable.safetensors" not in found


def test_clearing_a_run_leaves_nothing_of_it(copied: tuple[list[str], Path]) -> None:
    _, run = copied
    torn = run / "finetune" / "checkpoints" / "checkpoint-12"
    torn.mkdir(parents=True)
    for name in ("optimizer.pt", "rng_state_0.pth", "trainer_state.json", ".meter.json.writing", "WHOLE"):
        (torn / name).write_text("x")
    (run / ".run.json.writing").write_text("x")
    clear(run, RUN)
    assert not run.exists()


def test_clearing_stops_at_a_link_that_came_later(copied: tuple[list[str], Path], tmp_path: Path) -> None:
    _, run = copied
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.safetensors").write_text("mine")
    shutil.rmtree(run / "finetune")
    (run / "finetune").symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="finetune is a link"):
        clear(run, RUN)
    assert (tmp_path / "other" / "weights.safetensors").read_text() == "mine"


def test_links_are_looked_for_below_the_root_only(tmp_path: Path) -> None:
    (tmp_path / "real" / "a").mkdir(parents=True)
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert link_in(tmp_path / "root", tmp_path / "root" / "a" / "b") is None
    (tmp_path / "real" / "a" / "b").symlink_to(tmp_path / "nowhere")
    assert link_in(tmp_path / "root", tmp_path / "root" / "a" / "b") == tmp_path / "root" / "a" / "b"
    assert link_in(tmp_path / "root", tmp_path / "root" / "a") == tmp_path / "root" / "a" / "b"


def test_a_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    """What lies at the name of the temporary file beside it is replaced, not written into."""
    (tmp_path / "mine").write_text("mine")
    os.symlink(tmp_path / "mine", tmp_path / ".run.json.writing")
    write_atomically(tmp_path / "run.json", "text")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "run.json").read_text() == "text"


def test_a_sweep_writes_its_own_file_behind_no_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "notes.yaml"
    notes.write_text("mine")
    (tmp_path / "runs" / ".hydra").mkdir(parents=True)
    link = tmp_path / "runs" / ".hydra" / "multirun.yaml"
    link.symlink_to(notes)
    assert cli.run(["-m", *SMALL, "seed=0,1", f"results={tmp_path / 'runs'}"]) == 2
    assert f"{link} is a link" in capsys.readouterr().err
    assert notes.read_text() == "mine"
