"""Files that were damaged in place, their size kept: told, and the run ends like one that nobody disturbed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autolora_bench import cli
from autolora_bench.interruption import Interrupted
from autolora_bench.methods.evaluation import EvaluatePhase
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.record import Status, find_records, read_record
from autolora_bench.tasks.generation.decode import FinishedBatches
from autolora_bench.training.checkpoints import CheckpointPolicy
from tests.conftest import files

SMALL = [
    "task=sst2",
    "model=any",
    "data=generated",
    "data.limit=16",
    "data.limit_evaluation=8",
    "device=cpu",
    "train.epochs=2",
    "train.batch_size=8",
    "train.checkpoint_minutes=1e-9",
    "~recipe",
    "~cell",
]
METHODS = {
    "lora": ["method=lora", "method.learning_rate=0.01"],
    "autolora": [
        "method=autolora",
        "data.limit=32",
        "method.search.components=3",
        "method.search.diagnose_steps=[]",
    ],
    "adalora": ["method=adalora", "train.epochs=4"],
}
PHASE = {"lora": "finetune", "autolora": "search", "adalora": "finetune"}
STOPPED_AT = 3
"""Steps; the checkpoint before is of the first epoch's end, so that both hold the best weights."""

Files = dict[str, bytes]


def left_in(results: Path) -> Files:
    """The files of the one run there, without its record."""
    found = files(next(find_records(results)).parent)
    del found["run.json"]
    return found


def stop(*_: Any, **__: Any) -> None:
    raise Interrupted(15)


class Cells:
    """Whole runs and runs stopped after a step or before a phase, each made once and copied for a test."""

    def __init__(self, encoder: Path, folder: Path) -> None:
        self.encoder = encoder
        self.folder = folder

    def line(self, method: str, results: Path) -> list[str]:
        return [*SMALL, *METHODS[method], f"model.checkpoint={self.encoder}", f"results={results}"]

    def whole(self, method: str) -> Files:
        results = self.folder / f"{method}-whole"
        if not results.exists():
            assert cli.run(self.line(method, results)) == 0
        return left_in(results)

    def cut(self, method: str, before: type | None, copy: Path) -> Path:
        """The folder of a run stopped right after STOPPED_AT steps, or before the phase `before`."""
        results = self.folder / f"{method}-{before.__name__ if before else 'steps'}"
        if not results.exists():
            with pytest.MonkeyPatch.context() as patch:
                if before is None:
                    stop_after(patch, STOPPED_AT)
                else:
                    patch.setattr(before, "run", stop)
                assert cli.run(self.line(method, results)) == 143
        shutil.copytree(results, copy)
        return next(find_records(copy)).parent


def stop_after(patch: pytest.MonkeyPatch, step: int) -> None:
    save = CheckpointPolicy.on_save

    def stopping(self: CheckpointPolicy, args: Any, state: Any, control: Any, **more: Any) -> Any:
        found = save(self, args, state, control, **more)
        if state.global_step == step:
            raise Interrupted(15)
        return found

    patch.setattr(CheckpointPolicy, "on_save", stopping)


@pytest.fixture(scope="module")
def cells(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Cells(tiny_encoder, tmp_path_factory.mktemp("cells"))


def flip(path: Path) -> None:
    """One bit, in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def zero(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2].ljust(path.stat().st_size, b"\0"))


def noise(path: Path) -> None:
    path.write_bytes(bytes((7 * n + 13) % 256 for n in range(path.stat().st_size)))


DAMAGE: dict[str, Callable[[Path], None]] = {"flip": flip, "zero": zero, "noise": noise}
OF_ALL = ["meter.json", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainable.safetensors"]
OF_ALL += ["trainer_state.json", "WHOLE"]
FILES = {
    "lora": [*OF_ALL, "best.safetensors"],
    "autolora": [*OF_ALL, "selection.safetensors", "trajectory.jsonl"],
    "adalora": [*OF_ALL, "best.safetensors", "companion.safetensors"],
}


def test_these_are_all_files_of_a_checkpoint(cells: Cells, tmp_path: Path) -> None:
    for method, names in FILES.items():
        folder = cells.cut(method, None, tmp_path / method)
        found = (folder / PHASE[method] / "checkpoints" / f"checkpoint-{STOPPED_AT}").iterdir()
        assert sorted(path.name for path in found) == sorted(names)


@pytest.mark.sample(
    keep=(
        "lora-trainable.safetensors-zero",
        "lora-WHOLE-flip",
        "autolora-selection.safetensors-flip",
    )
)
@pytest.mark.parametrize(
    ("method", "name", "damage"),
    [
        *(("lora", name, "flip") for name in FILES["lora"]),
        ("lora", "trainable.safetensors", "zero"),
        ("lora", "optimizer.pt", "noise"),
        *(("autolora", name, "flip") for name in ("selection.safetensors", "trajectory.jsonl")),
        ("adalora", "companion.safetensors", "flip"),
    ],
)
def test_a_checkpoint_that_was_damaged(
    cells: Cells,
    method: str,
    name: str,
    damage: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = cells.whole(method)
    folder = cells.cut(method, None, tmp_path / "runs") / PHASE[method] / "checkpoints"
    before = sorted(path.name for path in folder.glob("checkpoint-*"))
    assert before == [f"checkpoint-{STOPPED_AT - 1}", f"checkpoint-{STOPPED_AT}"]
    DAMAGE[damage](folder / f"checkpoint-{STOPPED_AT}" / name)
    capsys.readouterr()
    assert cli.run(cells.line(method, tmp_path / "runs")) == 0
    said = capsys.readouterr().err
    assert f"checkpoint-{STOPPED_AT} is damaged ({name}): the run goes on from {before[0]}" in said
    assert "Traceback" not in said
    assert left_in(tmp_path / "runs") == whole


def test_all_checkpoints_damaged(cells: Cells, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = cells.whole("lora")
    for path in cells.cut("lora", None, tmp_path / "runs").rglob("trainable.safetensors"):
        noise(path)
    assert cli.run(cells.line("lora", tmp_path / "runs")) == 0
    assert capsys.readouterr().err.count("(trainable.safetensors): the phase starts again") == 2
    assert left_in(tmp_path / "runs") == whole


ARTEFACTS = [
    ("autolora", FinetunePhase, "search/trajectory.jsonl", "flip"),
    ("autolora", FinetunePhase, "threshold/ranks.json", "noise"),
    ("autolora", EvaluatePhase, "search/selection.json", "flip"),
    ("autolora", EvaluatePhase, "search/selection.json", "gone"),
    ("lora", EvaluatePhase, "finetune/weights.safetensors", "flip"),
]


@pytest.mark.sample(
    keep=(
        "autolora-FinetunePhase-threshold/ranks.json-noise",
        "lora-EvaluatePhase-finetune/weights.safetensors-flip",
    )
)
@pytest.mark.parametrize(("method", "before", "name", "damage"), ARTEFACTS)
def test_what_a_finished_phase_left_was_damaged(
    cells: Cells,
    method: str,
    before: type,
    name: str,
    damage: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = cells.whole(method)
    folder = cells.cut(method, before, tmp_path / "runs")
    if damage == "gone":
        (folder / name).unlink()
    else:
        DAMAGE[damage](folder / name)
    assert cli.run(cells.line(method, tmp_path / "runs")) == 0
    said = capsys.readouterr().err
    assert f"{folder / name} is" in said
    assert f"the run starts again with phase {name.split('/')[0]}" in said
    assert left_in(tmp_path / "runs") == whole
    record = read_record(folder / "run.json")
    assert record.status is Status.completed
    assert [phase.name for phase in record.phases] == list(
        dict.fromkeys(n.split("/")[0] for n in order(whole))
    )


def order(names: Files) -> list[str]:
    phases = ["search", "threshold", "retrain", "finetune", "evaluate"]
    return sorted(names, key=lambda name: phases.index(name.split("/")[0]))


def test_a_decoded_batch_with_a_flipped_bit_is_decoded_again(tmp_path: Path) -> None:
    path = tmp_path / "test.partial.jsonl"
    kept = FinishedBatches(path, "key")
    for number, text in enumerate(("a pub", "a café", "an inn")):
        kept.add(number, [text])
    assert FinishedBatches(path, "key").outputs == {0: ["a pub"], 1: ["a café"], 2: ["an inn"]}
    data = path.read_bytes()
    path.write_bytes(data.replace(b"a caf", b"a daf"))
    assert FinishedBatches(path, "key").outputs == {0: ["a pub"]}
    assert len(path.read_bytes().splitlines()) == 2
    path.write_bytes(data.replace(b'"batch": 2', b'"batch": 1'))
    assert FinishedBatches(path, "key").outputs == {0: ["a pub"], 1: ["a café"]}
    path.write_bytes(b"[" * 100_000 + b"\n")
    assert FinishedBatches(path, "key").outputs == {}
    assert json.loads(path.read_text())["key"] == "key"
