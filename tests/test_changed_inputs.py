"""Data or weights that changed between a stop and the resumption are refused; a copy of the same bytes is not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from autolora_bench import cli
from autolora_bench.interruption import Interrupted
from autolora_bench.methods import base
from autolora_bench.methods.autolora import ThresholdPhase
from autolora_bench.methods.evaluation import EvaluatePhase
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.record import RunRecord, Status, find_records, read_record
from autolora_bench.training.checkpoints import CheckpointPolicy

pytestmark = pytest.mark.usefixtures("module_cache")

SMALL = [
    "task=rte",
    "model=any",
    "data=local",
    "device=cpu",
    "train.epochs=1",
    "train.batch_size=4",
    "train.checkpoint_minutes=1e-9",
    "~recipe",
    "~cell",
]
LABELS = ("entailment", "not_entailment")


def rows(count: int, swapped: bool = False) -> str:
    """RTE's own layout; swapped, every label is the other one and the file as long as before."""
    names = LABELS[::-1] if swapped else LABELS
    lines = (f"{n}\tAnna went to Rome\tAnna is in Rome\t{names[n % 2]}\n" for n in range(count))
    return "index\tsentence1\tsentence2\tlabel\n" + "".join(lines)


class Place:
    """A folder with data, a model and results, and the command line that uses them."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root = root
        self.data = root / "data" / "glue" / "RTE"
        self.data.mkdir(parents=True)
        self.write("train", rows(16))
        self.write("dev", rows(4))
        self.model = Path(shutil.copytree(model, root / "model"))

    def write(self, split: str, text: str) -> None:
        (self.data / f"{split}.tsv").write_text(text)

    def line(self, *more: str, results: str = "runs", method: str = "lora") -> list[str]:
        where = [f"model.checkpoint={self.model}", f"data.dir={self.root / 'data'}"]
        return [*SMALL, *where, f"results={self.root / results}", f"method={method}", *more]

    def record(self, results: str = "runs") -> RunRecord:
        return read_record(next(find_records(self.root / results)))

    def weights(self, results: str = "runs") -> bytes:
        [path] = (self.root / results).rglob("weights.safetensors")
        return path.read_bytes()


@pytest.fixture
def place(tmp_path: Path, tiny_encoder: Path) -> Place:
    return Place(tmp_path, tiny_encoder)


@pytest.fixture(scope="module")
def undisturbed(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a run in such a place that nothing stopped."""
    place = Place(tmp_path_factory.mktemp("undisturbed"), tiny_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        assert cli.run(place.line()) == 0
    return place.weights()


def stopped(monkeypatch: pytest.MonkeyPatch, line: list[str], saves: int = 2) -> None:
    """Stop the run right after its checkpoint of that number."""
    save, count = CheckpointPolicy.on_save, []

    def stopping(self: CheckpointPolicy, *more: Any, **options: Any) -> Any:
        found = save(self, *more, **options)
        count.append(1)
        if len(count) == saves:
            raise Interrupted(15)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointPolicy, "on_save", stopping)
        assert cli.run(line) == 143


@pytest.mark.parametrize("split", ["train", "dev"])
@pytest.mark.sample(one_in=2)
def test_other_data_under_the_same_path(
    place: Place,
    split: str,
    undisturbed: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped(monkeypatch, place.line())
    before = (place.data / f"{split}.tsv").read_text()
    place.write(split, rows(16 if split == "train" else 4, swapped=True))
    checkpoints = {path: path.read_bytes() for path in (place.root / "runs").rglob("checkpoint-*/*")}
    assert cli.run(place.line()) == 2
    said = capsys.readouterr().err
    assert f"glue/RTE/{split}.tsv" in said
    assert "rerun=all" in said
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in checkpoints} == checkpoints
    place.write(split, before)
    assert cli.run(place.line()) == 0
    assert place.weights() == undisturbed


def test_starting_again_is_a_run_of_the_new_data(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(monkeypatch, place.line())
    old = place.record()
    place.write("train", rows(16, swapped=True))
    assert cli.run(place.line("rerun=all")) == 0
    assert cli.run(place.line(results="fresh")) == 0
    assert place.weights() == place.weights("fresh")
    assert place.record().inputs == place.record("fresh").inputs
    assert place.record().inputs["data"] != old.inputs["data"]
    assert place.record().data["fingerprint"] != old.data["fingerprint"]


def test_the_record_says_what_was_read_before_the_first_step(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointPolicy, "on_step_end", stop)
        assert cli.run(place.line()) == 143
    record = place.record()
    assert set(record.inputs["data"]) == {"glue/RTE/train.tsv", "glue/RTE/dev.tsv", "the examples"}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(record.inputs["pretrained model"])
    assert record.data["splits"] == {"train": 16, "validation": 4}
    assert record.inputs["data"]["the examples"] == record.data["fingerprint"]


def test_the_same_bytes_elsewhere_and_at_another_time_are_no_change(
    place: Place, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(monkeypatch, place.line())
    shutil.copytree(place.root / "data", place.root / "copy")
    for path in [*(place.root / "copy").rglob("*.tsv"), *place.model.iterdir()]:
        os.utime(path, (1, 1))
    (place.model / "README.md").write_text("not read by a model")
    moved = [*place.line(), f"data.dir={place.root / 'copy'}"]
    assert cli.run([word for word in moved if word != f"data.dir={place.root / 'data'}"]) == 0
    assert place.weights() == undisturbed


def other_weights(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = model / "model.safetensors"
    save_file({name: w * 1.5 for name, w in load_file(path).items()}, path, metadata={"format": "pt"})


def other_settings(model: Path) -> None:
    values = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**values, "hidden_act": "relu"}))


def other_tokens(model: Path) -> None:
    text = (model / "tokenizer.json").read_text()
    assert '"lowercase": true' in text or '"Lowercase"' in text
    (model / "tokenizer.json").write_text(text.replace('"Lowercase"', '"NFC"'))


CHANGES: dict[str, Callable[[Path], None]] = {
    "model.safetensors": other_weights,
    "config.json": other_settings,
    "tokenizer.json": other_tokens,
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.sample(one_in=3)
def test_another_model_under_the_same_path(
    place: Place,
    name: str,
    undisturbed: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped(monkeypatch, place.line())
    before = (place.model / name).read_bytes()
    CHANGES[name](place.model)
    assert (place.model / name).read_bytes() != before
    assert cli.run(place.line()) == 2
    said = capsys.readouterr().err
    assert f"pretrained model changed since this run began: {name}" in said
    assert "Traceback" not in said
    assert place.record().status is Status.failed
    (place.model / name).write_bytes(before)
    assert cli.run(place.line()) == 0
    assert place.weights() == undisturbed


SEARCH = ("method.search.components=3", "method.search.diagnose_steps=[]")


@pytest.mark.parametrize("split", [True, False], ids=["in two attempts", "in one"])
def test_weights_that_change_between_the_search_and_the_retraining(
    place: Place, split: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = place.line(*SEARCH, method="autolora")
    threshold = ThresholdPhase.run

    def changing(self: ThresholdPhase, context: Any) -> Any:
        found = threshold(self, context)
        if split:
            raise Interrupted(15)
        other_weights(place.model)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ThresholdPhase, "run", changing)
        assert cli.run(line) == (143 if split else 2)
    if split:
        other_weights(place.model)
        assert cli.run(line) == 2
    assert "pretrained model changed since this run began: model.safetensors" in capsys.readouterr().err
    assert place.record().best == {}


def test_data_that_change_before_the_last_phase(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any) -> None:
        raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(EvaluatePhase, "run", stop)
        assert cli.run(place.line()) == 143
    place.write("dev", rows(4, swapped=True))
    assert cli.run(place.line()) == 2
    assert "glue/RTE/dev.tsv" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["generated examples", "a revision of the hub"])
@pytest.mark.sample(one_in=2)
def test_what_no_file_of_the_user_tells(
    place: Place, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Examples of another release of the generator; a hub name whose commit moved."""
    line = [word for word in place.line() if not word.startswith("data")]
    line += ["data=generated", "data.limit=16", "data.limit_evaluation=4"]
    load_data, load_backbone = base.load_data, base.load_backbone
    commit = "a"

    def loaded(*more: Any) -> Any:
        backbone = load_backbone(*more)
        backbone.source["commit"] = commit
        return backbone

    def changed(*more: Any) -> Any:
        data = load_data(*more)
        return type(data)(data.splits, "another fingerprint", data.source, data.subsets, data.notes)

    with monkeypatch.context() as patch:
        if what == "a revision of the hub":
            patch.setattr(base, "model_digests", lambda _: {})
            patch.setattr(base, "load_backbone", loaded)
        stopped(monkeypatch, line)
        if what == "a revision of the hub":
            commit = "b"
        else:
            patch.setattr(base, "load_data", changed)
        assert cli.run(line) == 2
    said = capsys.readouterr().err
    wanted = "pretrained model changed since this run began: commit"
    assert (wanted if what == "a revision of the hub" else "data changed since this run began") in said
    assert cli.run(line) == (2 if what == "a revision of the hub" else 0)


def test_a_file_that_changes_while_it_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_data = base.load_data

    def racing(*more: Any) -> Any:
        found = load_data(*more)
        place.write("train", rows(16, swapped=True))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(base, "load_data", racing)
        assert cli.run(place.line()) == 2
    assert "data changed since this run began: glue/RTE/train.tsv" in capsys.readouterr().err
    assert cli.run(place.line()) == 0


def test_an_attempt_that_ended_before_anything_was_read_starts_on_what_is_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(FinetunePhase, "run", stop)
        patch.setattr("autolora_bench.runner._describe_data", stop)
        assert cli.run(place.line()) == 143
    place.write("train", rows(16, swapped=True))
    assert cli.run(place.line()) == 0


def test_a_completed_run_is_not_taken_for_one_of_other_weights(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same folder, and another model in it by now."""
    assert cli.run(place.line()) == 0
    assert cli.run(place.line()) == 0
    file = place.model / "model.safetensors"
    weights = load_file(file)
    save_file({name: weight * 1.01 for name, weight in weights.items()}, file, {"format": "pt"})
    capsys.readouterr()
    assert cli.run(place.line()) == 2
    assert (
        f"was made with other weights than those in {place.model} (model.safetensors)"
        in capsys.readouterr().err
    )
    assert cli.run(place.line("rerun=all")) == 0


@pytest.mark.parametrize("replaced", ["data", "weights"])
@pytest.mark.sample(keep=("data",))
def test_nor_is_it_where_what_took_their_place_was_written_long_ago(
    place: Place, replaced: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a copy that keeps its times, from an archive or by rsync."""
    assert cli.run(place.line()) == 0
    if replaced == "data":
        file, content = place.data / "train.tsv", rows(16, swapped=True).encode()
    else:
        file = place.model / "model.safetensors"
        scaled = {name: weight * 1.01 for name, weight in load_file(file).items()}
        save_file(scaled, place.root / "other", {"format": "pt"})
        content = (place.root / "other").read_bytes()
    before = file.read_bytes()
    file.write_bytes(content)
    os.utime(file, (0, 0))
    capsys.readouterr()
    assert cli.run(place.line()) == 2
    assert (
        f"was made with other {'files' if replaced == 'data' else 'weights'} than those"
        in capsys.readouterr().err
    )
    file.write_bytes(before)
    assert cli.run(place.line()) == 0


def test_a_completed_run_needs_its_data_no_more(place: Place) -> None:
    assert cli.run(place.line()) == 0
    shutil.rmtree(place.root / "data")
    place.data.mkdir(parents=True)
    assert cli.run(place.line()) == 0
