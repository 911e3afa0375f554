"""Data of one's own from the command line: a table is run, resumed, reported, and never mixed with another."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autolora_bench import cli
from autolora_bench.interruption import Interrupted
from autolora_bench.record import RunRecord, Status, find_records, read_record
from autolora_bench.training.checkpoints import CheckpointPolicy

FAST = ["device=cpu", "train.epochs=1", "train.batch_size=4", "train.checkpoint_minutes=1e-9", "model=any"]
LIGHT = """
import sys
from autolora_bench.cli import run
for words in {lines!r}:
    run(words)
print("torch" in sys.modules, file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def _in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def reviews(path: str, count: int = 24, swapped: bool = False) -> None:
    names = ["good", "bad"] if swapped else ["bad", "good"]
    lines = (f"{n},film {n} was {names[n % 2]},{['bad', 'good'][n % 2]}\n" for n in range(count))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("id,review,sentiment\n" + "".join(lines))


def line(model: Path, *words: str, train: str = "reviews.csv") -> list[str]:
    return ["task=any", f"data.train={train}", f"model.checkpoint={model}", *FAST, *words]


def records() -> list[RunRecord]:
    return [read_record(path) for path in find_records(Path("runs"))]


def test_a_table_is_one_command(tiny_encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviews("reviews.csv")
    assert cli.run(line(tiny_encoder)) == 0
    assert "review -> sentiment, one of 2 classes: bad, good" in capsys.readouterr().err
    [record] = records()
    assert (record.task, record.status, record.headline) == ("reviews", Status.completed, "accuracy")
    assert set(record.best["validation"].scores) == {"accuracy", "macro_f1"}
    assert record.data["splits"] == {"train": 22, "validation": 2}
    assert set(record.inputs["data"]) == {"train/reviews.csv", "the examples"}
    assert record.config["task"]["labels"] == ["bad", "good"]
    assert "reviews.csv" not in json.dumps(record.config)
    exported = json.loads(next(Path("runs").rglob("export/config.json")).read_text())
    assert exported["label2id"] == {"bad": 0, "good": 1}
    assert cli.run(line(tiny_encoder)) == 0
    assert "1 done before" in capsys.readouterr().err
    assert cli.run(["report", "task=reviews"]) == 0
    assert "no validation split" in capsys.readouterr().out
    assert cli.run(["report", *line(tiny_encoder)]) == 0
    assert "| LoRA |" in capsys.readouterr().out
    assert cli.run(["status", *line(tiny_encoder)]) == 0
    assert "1 completed" in capsys.readouterr().out
    assert cli.run(["records", "task=reviews", "to=thin"]) == 0
    [thin] = find_records(Path("thin"))
    assert str(Path.cwd()) not in thin.read_text()
    assert read_record(thin).locations == {"device": "cpu"}


FILM = "the film was good"
KINDS: dict[str, tuple[list[dict[str, Any]], str, set[str]]] = {
    "pairs": (
        [
            {"premise": f"{FILM} {n}", "hypothesis": FILM, "label": ["no", "maybe", "yes"][n % 3]}
            for n in range(30)
        ],
        "tiny_encoder",
        {"accuracy", "macro_f1"},
    ),
    "alike": (
        [{"sentence1": FILM, "sentence2": f"{FILM} {n}", "score": n / 7} for n in range(30)],
        "tiny_encoder",
        {"spearman", "pearson"},
    ),
    "names": (
        [
            {"tokens": [f"Anna{n}", "is", "in", "Rome"], "tags": ["B-PER", "O", "O", "B-LOC"]}
            for n in range(20)
        ],
        "tiny_encoder",
        {"f1", "precision", "recall"},
    ),
    "texts": (
        [{"input": f"name: {n}", "output": f"It is {n}."} for n in range(12)],
        "tiny_decoder",
        {"bleu", "rouge_l_google"},
    ),
}


@pytest.mark.sample(keep=("alike", "texts"))
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_is_trained_and_scored(kind: str, request: pytest.FixtureRequest) -> None:
    rows, model, metrics = KINDS[kind]
    Path(f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["task.decoding.beams=1", "task.decoding.max_new_tokens=4"] if kind == "texts" else []
    assert cli.run(line(request.getfixturevalue(model), *words, train=f"{kind}.jsonl")) == 0
    [record] = records()
    assert record.status is Status.completed
    found = {name for name in record.last["validation"].scores if "/" not in name}
    assert metrics <= found


def test_a_control_takes_its_total_from_the_search_on_the_same_table(tiny_encoder: Path) -> None:
    reviews("reviews.csv", count=12)
    words = line(tiny_encoder, "train.checkpoint_minutes=60", "method=autolora,lora_random_ranks")
    assert cli.run(["-m", *words]) == 0
    totals = {record.method: sum(layer.rank for layer in record.ranks) for record in records()}
    assert totals["lora_random_ranks"] == totals["autolora"] > 0


def stop_at_first_checkpoint(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    save = CheckpointPolicy.on_save

    def stopping(self: CheckpointPolicy, *more: Any, **options: Any) -> Any:
        save(self, *more, **options)
        raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointPolicy, "on_save", stopping)
        assert cli.run(words) == 143


def test_a_file_changed_between_stop_and_resumption_is_refused(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reviews("reviews.csv")
    shutil.copy("reviews.csv", "before.csv")
    stop_at_first_checkpoint(monkeypatch, line(tiny_encoder))
    reviews("reviews.csv", swapped=True)
    assert cli.run(line(tiny_encoder)) == 2
    said = capsys.readouterr().err
    assert "data.train=reviews.csv changed" in said
    assert "rerun=all" in said
    assert len(records()) == 1
    shutil.copy("before.csv", "reviews.csv")
    quoted = [
        word.replace("data.train=reviews.csv", "data.train='reviews.csv'") for word in line(tiny_encoder)
    ]
    reviews("reviews.csv", swapped=True)
    assert cli.run(quoted) == 2, "another spelling of the same command"
    assert "data.train=reviews.csv changed" in capsys.readouterr().err
    shutil.copy("before.csv", "reviews.csv")
    assert cli.run(line(tiny_encoder)) == 0
    assert [record.status for record in records()] == [Status.completed]
    assert cli.run(line(tiny_encoder, "results=fresh")) == 0
    kept, fresh = (next(Path(name).rglob("weights.safetensors")).read_bytes() for name in ("runs", "fresh"))
    assert kept == fresh


def test_two_files_of_one_name_are_two_cells(tiny_encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviews("one/reviews.csv")
    reviews("two/reviews.csv", swapped=True)
    for folder in ("one", "two"):
        assert cli.run(line(tiny_encoder, train=f"{folder}/reviews.csv")) == 0
    first, second = records()
    assert first.task == second.task == "reviews"
    assert first.config_id != second.config_id
    capsys.readouterr()
    assert cli.run(["report", "task=reviews"]) == 0
    out = capsys.readouterr().out
    assert "task.files.sha256" in out, "rows of other data say so"
    assert "n = 2" not in out


CHECKED = {
    (): (0, "review -> sentiment"),
    ("data.validation=none.csv",): (2, "no file none.csv"),
    ("task.label=sentimant",): (2, "did you mean sentiment"),
}


def test_check_finds_a_missing_file_and_column(
    tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reviews("reviews.csv")
    for words, (status, said) in CHECKED.items():
        assert cli.run(["check", *line(tiny_encoder, *words)]) == status
        assert said in "".join(capsys.readouterr())


@pytest.mark.slow
def test_so_it_does_without_torch(tiny_encoder: Path) -> None:
    reviews("reviews.csv")
    lines = [["check", *line(tiny_encoder, *words)] for words in CHECKED]
    light = subprocess.run([sys.executable, "-c", LIGHT.format(lines=lines)], capture_output=True, text=True)
    assert light.stderr.strip().splitlines()[-1] == "False"


def test_ls_explains_how_to_bring_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["ls", "task", "any"]) == 0
    out = capsys.readouterr().out
    for word in (
        "data.train",
        "data.validation",
        "data.name",
        "task.texts",
        "task.label",
        "task.kind",
        "parquet",
    ):
        assert word in out
    assert cli.run(["ls", "task", "anny"]) == 2
    assert "did you mean any" in capsys.readouterr().err
