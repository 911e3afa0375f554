"""A full disk, too little memory, a loss that is no number: one clear line, nothing half-written, and on it goes."""

import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from autolora_bench import cli
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import run_folder
from autolora_bench.interruption import Interrupted
from autolora_bench.record import Status, read_record
from autolora_bench.search.trainer import SearchTrainer
from autolora_bench.training.checkpoints import CheckpointPolicy
from autolora_bench.training.trainer import FinetuneTrainer, MeteredTrainer
from tests.conftest import files

pytestmark = pytest.mark.usefixtures("module_cache")

SMALL = [
    "task=sst2",
    "model=any",
    "data=generated",
    "data.limit=32",
    "data.limit_evaluation=16",
    "device=cpu",
]
TRAIN = ["train.epochs=2", "train.batch_size=8", "train.checkpoint_minutes=1e-9", "~recipe", "~cell"]
SEARCH = ["method=autolora", "data.limit=16", "train.epochs=1", "method.search.diagnose_steps=[]"]

Line = Callable[..., list[str]]


@pytest.fixture
def words(tiny_encoder: Path) -> Line:
    def line(results: Path, *more: str) -> list[str]:
        return [*SMALL, *TRAIN, f"model.checkpoint={tiny_encoder}", f"results={results}", *more]

    return line


def folder_of(line: list[str]) -> Path:
    with composer():
        return run_folder(to_experiment(compose_config(line)))


@pytest.fixture(scope="module")
def whole(
    tiny_encoder: Path, module_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """Files of an undisturbed AutoLoRA run, by the words of those that are disturbed: the export's card has them."""
    results = tmp_path_factory.mktemp("whole")
    line = [*SMALL, *TRAIN, f"model.checkpoint={tiny_encoder}", f"results={results}", *SEARCH]
    assert cli.run(line) == 0
    return left_by(line)


def left_by(line: list[str]) -> dict[str, bytes]:
    """The files of a run, without its record."""
    found = files(folder_of(line))
    del found["run.json"]
    return found


def full_disk(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_for_torch(*_: Any, **__: Any) -> Any:
    raise RuntimeError("[enforce fail at inline_container.cc] PytorchStreamWriter failed writing file")


def only_for(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
    """`Path.open` on a disk that is full when a file of that name is written."""

    def opened(self: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if name in self.name and set(mode) & set("wa+"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, mode, *more, **options)

    return opened


BOUNDARIES: dict[str, tuple[Any, str, Any]] = {
    "optimizer of a checkpoint": (torch, "save", full_for_torch),
    "weights of a checkpoint": (safetensors.torch, "serialize_file", full_disk),
    "weights of a phase": (FinetuneTrainer, "_save", full_disk),
    "export": (PreTrainedModel, "save_pretrained", full_disk),
    "trajectory": (Path, "open", only_for("trajectory.jsonl", Path.open)),
    "selection": (Path, "open", only_for("selection.json", Path.open)),
    "ranks": (Path, "open", only_for("ranks.json", Path.open)),
    "meter": (Path, "open", only_for("meter.json", Path.open)),
    "mark of a checkpoint": (Path, "open", only_for("WHOLE", Path.open)),
    "predictions": (Path, "open", only_for("validation.jsonl", Path.open)),
    "record": (Path, "open", only_for("run.json", Path.open)),
}


@pytest.mark.sample(keep=("optimizer of a checkpoint", "record"))
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_disk_that_takes_no_more(
    words: Line,
    whole: dict[str, bytes],
    boundary: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    owner, name, broken = BOUNDARIES[boundary]
    line = words(tmp_path, *SEARCH)
    if boundary == "export":
        from peft import PeftModel

        owner = PeftModel
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        assert cli.run(line) in (1, 2)
    said = capsys.readouterr().err
    assert "cannot write" in said
    assert "free some space or choose another folder with results=DIR" in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob(".*.writing"))
    assert cli.run(line) == 0
    assert left_by(line) == whole


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of file sizes here")
@pytest.mark.sample(keep=("4000",))
@pytest.mark.parametrize("size", [1000, 4000, 20_000])
def test_files_that_cannot_grow(
    words: Line, whole: dict[str, bytes], size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = words(tmp_path, *SEARCH)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        assert cli.run(line) in (1, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    said = capsys.readouterr().err
    assert "cannot write" in said
    assert "Traceback" not in said
    assert cli.run(line) == 0
    assert left_by(line) == whole


def out_of_memory(monkeypatch: pytest.MonkeyPatch, owner: Any, most: int, error: Exception) -> list[int]:
    """Let training passes of more than `most` examples fail; returns the sizes that were tried."""
    step, tried = owner.training_step, []

    def tight(self: Any, model: Any, inputs: dict[str, Any], *more: Any, **options: Any) -> Any:
        tried.append(len(inputs["input_ids"]))
        if tried[-1] > most:
            raise error
        return step(self, model, inputs, *more, **options)

    monkeypatch.setattr(owner, "training_step", tight)
    return tried


@pytest.fixture(scope="module")
def asked(tiny_encoder: Path, module_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The weights of a run that was asked for four micro-batches a step."""
    results = tmp_path_factory.mktemp("asked")
    line = [*SMALL, *TRAIN, f"model.checkpoint={tiny_encoder}", f"results={results}", "method=lora"]
    line += ["train.epochs=1", "train.accumulation=4"]
    assert cli.run(line) == 0
    return load_file(folder_of(line) / "finetune/weights.safetensors")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
@pytest.mark.sample(keep=("error1",))
def test_too_little_memory_halves_the_batch_and_doubles_the_accumulation(
    words: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], error: Exception
) -> None:
    line = words(tmp_path / "found", "method=lora", "train.epochs=1")
    tried = out_of_memory(monkeypatch, FinetuneTrainer, 2, error)
    assert cli.run(line) == 0
    assert tried[:3] == [8, 4, 2]
    record = read_record(folder_of(line) / "run.json")
    assert record.phases[0].details["accumulation"] == {"asked": 1, "used": 4}
    assert record.phases[0].steps == 4
    assert record.phases[0].examples == 32
    found = load_file(folder_of(line) / "finetune/weights.safetensors")
    assert all(torch.equal(asked[name], found[name]) for name in asked)


def test_a_resumed_run_begins_with_the_accumulation_that_was_needed(
    words: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    line = words(tmp_path / "found", "method=lora", "train.epochs=1")
    tried = out_of_memory(monkeypatch, FinetuneTrainer, 2, torch.OutOfMemoryError("out of memory"))
    save = CheckpointPolicy.on_save

    def stopping(self: CheckpointPolicy, *arguments: Any, **options: Any) -> Any:
        save(self, *arguments, **options)
        raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointPolicy, "on_save", stopping)
        assert cli.run(line) == 143
    tried.clear()
    assert cli.run(line) == 0
    assert set(tried) == {2}
    record = read_record(folder_of(line) / "run.json")
    assert record.phases[0].details["accumulation"] == {"asked": 1, "used": 4}
    found = load_file(folder_of(line) / "finetune/weights.safetensors")
    assert all(torch.equal(asked[name], found[name]) for name in asked)


def test_the_search_halves_too_and_keeps_its_validation_batches(
    words: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = words(tmp_path / "found", *SEARCH)
    asked = words(
        tmp_path / "asked", *SEARCH, "method.search.validation_batch_size=8", "train.accumulation=2"
    )
    assert cli.run(asked) == 0
    out_of_memory(monkeypatch, SearchTrainer, 4, torch.OutOfMemoryError("out of memory"))
    assert cli.run(line) == 0
    record = read_record(folder_of(line) / "run.json")
    assert record.phases[0].details["accumulation"] == {"asked": 1, "used": 2}
    one, other = (json.loads((folder_of(w) / "search/selection.json").read_text()) for w in (asked, line))
    assert one == other


def test_memory_that_is_too_little_for_one_example(
    words: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out_of_memory(monkeypatch, FinetuneTrainer, 0, torch.OutOfMemoryError("out of memory"))
    assert cli.run(words(tmp_path, "method=lora")) == 2
    said = capsys.readouterr().err
    assert "out of memory with micro-batches of 1 examples" in said
    assert "train.accumulation" in said


@pytest.mark.sample(keep=("lora-finetune-nan", "autolora-search-inf"))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("method", "phase"), [("lora", "finetune"), ("autolora", "search")])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint_before(
    words: Line,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    phase: str,
    value: float,
) -> None:
    line = words(tmp_path, f"method={method}", "method.learning_rate=1e-3")
    compute = MeteredTrainer.compute_loss
    step = 3

    def spoiled(self: Any, *more: Any, **options: Any) -> Any:
        loss = compute(self, *more, **options)
        return loss * value if self.state.global_step + 1 == step else loss

    with monkeypatch.context() as patch:
        patch.setattr(MeteredTrainer, "compute_loss", spoiled)
        assert cli.run(line) == 1
    said = capsys.readouterr().err
    batch, epoch = (3, 1) if method == "lora" else (1, 2)
    assert f"the loss is NaN or infinite in optimizer step 3, batch {batch} of epoch {epoch}" in said
    record = read_record(folder_of(line) / "run.json")
    assert record.status is Status.failed
    assert record.phases[0].status is Status.failed
    kept = {path.name for path in (folder_of(line) / phase / "checkpoints").glob("checkpoint-*")}
    assert "checkpoint-2" in kept or (method == "autolora" and kept)
    assert "checkpoint-3" not in kept
    assert cli.run(line) == 0


@pytest.mark.parametrize(
    ("task", "method"),
    [("rte", "full"), ("bionlp", "full"), ("planted", "full"), ("e2e", "lora")],
)
@pytest.mark.sample(keep=("rte-full", "e2e-lora"))
def test_a_model_that_the_last_step_broke_has_no_score(
    task: str,
    method: str,
    tmp_path: Path,
    tiny_encoder: Path,
    tiny_decoder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = ["model=small", "data=planted"] if task == "planted" else ["model=any", "data=generated"]
    line = [
        *(f"task={task}", *model, f"method={method}", "~recipe", f"results={tmp_path}", "device=cpu"),
        *("train.batch_size=16", "train.max_steps=1", "train.warmup=0.0", "method.learning_rate=1e36"),
    ]
    weights = tiny_decoder if task == "e2e" else tiny_encoder
    few = [f"model.checkpoint={weights}", "data.limit=16", "data.limit_evaluation=8"]
    line += few if task != "planted" else [f"task.rows.{part}=32" for part in ("train", "validation", "test")]
    for _ in range(2):
        assert cli.run(line) == 1
        assert (
            "outputs became NaN or infinite in optimizer step 1, batch 1 of epoch 1"
            in capsys.readouterr().err
        )
        record = read_record(folder_of(line) / "run.json")
        assert record.diverged
        assert not record.history
