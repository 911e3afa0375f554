"""Runs of every kind of task that are killed or stopped, and end like a run that nobody disturbed."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autolora_bench import cli
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import run_folder
from autolora_bench.interruption import Interrupted
from autolora_bench.record import Status, read_record
from autolora_bench.tasks.generation import decode
from autolora_bench.tasks.generation.decode import FinishedBatches
from tests.conftest import files

HARNESS = Path(__file__).resolve().parent.parent / "scripts" / "kill_harness.py"
SMALL = ["model=any", "data=generated", "method=lora", "device=cpu", "train.epochs=1", "train.batch_size=8"]
TEXTS = [
    *(
        "task=e2e",
        "task.metrics=[bleu,nist]",
        "task.epoch_records=2",
        "data.limit=6",
        "data.limit_evaluation=8",
    ),
    *("task.decoding.beams=2", "task.decoding.max_new_tokens=6", "task.decoding.batch_size=2"),
]
BATCHES = 8
"""Of the last decoding: four of the validation split, four of the test split."""


@pytest.fixture(scope="module")
def undecoded(
    tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[str], Path, Path]]:
    """A data-to-text command line without results, the results of its whole run, those of one that decoded nothing."""
    line = [*TEXTS, *SMALL, "~recipe", "~cell", f"model.checkpoint={tiny_decoder}"]
    whole, cut = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        with patch.context() as watch:
            batches = decoding(watch)
            assert cli.run([*line, f"results={whole}"]) == 0
        with patch.context() as watch:
            decoding(watch, stop_after=len(batches) - BATCHES)
            assert cli.run([*line, f"results={cut}"]) == 143
        yield line, whole, cut


def folder_of(line: list[str]) -> Path:
    with composer():
        return run_folder(to_experiment(compose_config(line)))


def outcome(folder: Path) -> tuple[Any, dict[str, bytes]]:
    record = read_record(folder / "run.json")
    assert record.status is Status.completed, record.error
    details = [phase.details for phase in record.phases]
    found = files(folder)
    del found["run.json"]
    return (record.history, record.best, record.test, details), found


def decoding(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[int]:
    """Watch the decoding of whole splits, and stop the run as SIGTERM does; the prompts of every batch."""
    search, found = decode.beam_search, []

    def watching(model: Any, tokens: Any, *more: Any) -> Any:
        if len(found) == stop_after:
            raise Interrupted(15)
        found.append(len(tokens))
        return search(model, tokens, *more)

    monkeypatch.setattr(decode, "beam_search", watching)
    return found


@pytest.mark.parametrize("done", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_decoding_that_was_stopped_goes_on_with_the_batches_that_are_left(
    undecoded: tuple[list[str], Path, Path], done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, whole, cut = undecoded
    shutil.copytree(cut, tmp_path, dirs_exist_ok=True)
    line = [*line, f"results={tmp_path}"]
    with monkeypatch.context() as patch:
        decoding(patch, stop_after=done)
        assert cli.run(line) == 143
    record = read_record(folder_of(line) / "run.json")
    assert record.status is Status.interrupted
    assert [phase.status for phase in record.phases] == [Status.completed, Status.interrupted]
    kept = sorted((folder_of(line) / "evaluate").glob("*.partial.jsonl"))
    assert sum(len([json.loads(text) for text in path.open()]) - 1 for path in kept) == done
    left = decoding(monkeypatch)
    assert cli.run(line) == 0
    assert len(left) == BATCHES - done
    assert outcome(folder_of(line)) == outcome(folder_of([*line, f"results={whole}"]))


def test_decoding_on_a_disk_that_takes_no_more(
    undecoded: tuple[list[str], Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line, whole, cut = undecoded
    shutil.copytree(cut, tmp_path, dirs_exist_ok=True)
    line = [*line, f"results={tmp_path}"]
    add = FinishedBatches.add

    def full(self: FinishedBatches, batch: int, outputs: list[str]) -> None:
        if batch == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, batch, outputs)

    with monkeypatch.context() as patch:
        patch.setattr(FinishedBatches, "add", full)
        assert cli.run(line) == 1
    said = capsys.readouterr().err
    assert "cannot write" in said
    assert "Traceback" not in said
    assert cli.run(line) == 0
    assert outcome(folder_of(line)) == outcome(folder_of([*line, f"results={whole}"]))


def harness(folder: Path, **options: object) -> str:
    """Run the harness, which must find no difference; what it printed."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, str(HARNESS), "--folder", str(folder), *words]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"{options['kills']} kills" in answer.stdout
    assert "0 not equal" in answer.stdout
    return answer.stdout


@pytest.mark.slow
def test_kills_in_training_and_in_decoding(tmp_path: Path) -> None:
    said = harness(tmp_path, kills=2, tasks="e2e", methods="lora", seed=564)
    assert "finetune" in said
    assert "decoding" in said


@pytest.mark.slow
def test_kills_in_every_kind_of_task(tmp_path: Path) -> None:
    harness(tmp_path, kills=18, methods="lora,autolora")


@pytest.mark.slow
def test_kills_in_every_kind_of_method(tmp_path: Path) -> None:
    harness(tmp_path, kills=30, tasks="sst2", methods="autolora,adalora,full,bitfit,adapter,lora_uniform")
