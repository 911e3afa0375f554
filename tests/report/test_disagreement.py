"""report examples=N: on which examples methods disagree, read off what the runs left."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autolora_bench import cli
from autolora_bench.record import find_records, read_record, write_record

FAST = [
    "data=generated",
    "data.limit=16",
    "train.epochs=1",
    "train.batch_size=8",
    "device=cpu",
    "train.threads=1",
]


@pytest.fixture(autouse=True)
def _in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def on_rte(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two methods with two seeds."""
    results = tmp_path_factory.mktemp("on_rte")
    run(tiny_encoder, "task=rte", "method=head_only,bitfit", "seed=0,1", f"results={results}")
    return results


def take(results: Path, method: str, *seeds: int) -> None:
    """Copy those runs to where this test works."""
    for path in find_records(results):
        found = read_record(path)
        if found.method == method and found.seed in seeds:
            shutil.copytree(path.parent, Path("runs") / path.parent.relative_to(results))


def run(model: Path, *words: str) -> None:
    assert cli.run(["-m", "model=any", f"model.checkpoint={model}", *FAST, *words]) == 0


def examples(method: str, seed: int = 0) -> Path:
    [record] = [
        path
        for path in find_records(Path("runs"))
        if (found := read_record(path)).method == method and found.seed == seed
    ]
    return record.parent / "evaluate" / "validation.examples.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewrite(path: Path, **predictions: Any) -> None:
    """Predictions by place (`p3="entailment"`), everywhere else what is right."""
    found = [line | {"prediction": predictions.get(f"p{line['id']}", line["gold"])} for line in lines(path)]
    path.write_text("".join(json.dumps(line) + "\n" for line in found))


def table(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.run(["report", *words, "format=json"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_run_leaves_its_examples(on_rte: Path) -> None:
    take(on_rte, "head_only", 0)
    path = examples("head_only")
    plain = [json.loads(line) for line in path.with_name("validation.jsonl").read_text().splitlines()]
    left = lines(path)
    assert [line["id"] for line in left] == [*range(len(plain))]
    assert [line["prediction"] for line in left] == plain
    assert set(left[0]) == {"id", "sentence1", "sentence2", "gold", "prediction", "probability"}
    assert all(0.5 <= line["probability"] <= 1 for line in left), "of the larger of two"
    [record] = [read_record(path) for path in find_records(Path("runs"))]
    right = sum(line["gold"] == line["prediction"] for line in left) / len(left)
    assert record.best["validation"].scores["accuracy"] == pytest.approx(right)


def test_the_examples_between_which_rows_differ_most_come_first(
    on_rte: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take(on_rte, "head_only", 0, 1)
    take(on_rte, "bitfit", 0, 1)
    wrong = {"entailment": "not_entailment", "not_entailment": "entailment"}
    gold = [line["gold"] for line in lines(examples("bitfit"))]
    rewrite(examples("head_only", 0), p2=wrong[gold[2]], p5=wrong[gold[5]], p7=wrong[gold[7]])
    rewrite(examples("head_only", 1), p5=wrong[gold[5]], p7=wrong[gold[7]])
    rewrite(examples("bitfit", 0), p7=wrong[gold[7]])
    rewrite(examples("bitfit", 1), p7=wrong[gold[7]])
    found = table(capsys, "task=rte", "examples=5")
    assert [row["id"] for row in found["rows"]] == ["5", "2"], "all are wrong about 7, so nobody disagrees"
    first, second = found["rows"]
    assert first["Head only"] == f"{wrong[gold[5]]} (0/2)"
    assert first["BitFit"] == f"{gold[5]} (2/2)"
    assert second["Head only"].endswith("(1/2)")
    assert "2 of" in found["notes"][0]
    assert [row["id"] for row in table(capsys, "task=rte", "examples=1")["rows"]] == ["5"]


@pytest.mark.slow
def test_numbers_and_tags(tiny_encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tiny_encoder, "task=stsb", "method=head_only,bitfit")
    run(tiny_encoder, "task=bionlp", "task.test=[]", "method=head_only,bitfit")
    for method, value in {"head_only": 1.0, "bitfit": 3.5}.items():
        [path] = [path for path in Path("runs/stsb").rglob("*.examples.jsonl") if method in str(path)]
        rewrite(path, p3=value)
    found = table(capsys, "task=stsb", "examples=3")
    assert [(row["id"], row["Head only"], row["BitFit"]) for row in found["rows"]] == [("3", "1.00", "3.50")]
    [path] = [path for path in Path("runs/bionlp").rglob("*.examples.jsonl") if "bitfit" in str(path)]
    assert all(len(line["probability"]) == len(line["gold"]) for line in lines(path))
    [other] = [path for path in Path("runs/bionlp").rglob("*.examples.jsonl") if "head_only" in str(path)]
    tags = lines(path)[0]["gold"]
    rewrite(other)
    rewrite(path, p0=[*tags[:-1], "B-DNA" if tags[-1] != "B-DNA" else "O"])
    [row] = table(capsys, "task=bionlp", "examples=3")["rows"]
    assert (row["id"], row["Head only"]) == ("0", "1.00")
    assert float(row["BitFit"]) == pytest.approx(1 - 1 / len(tags), abs=0.005)


def test_what_cannot_be_shown_is_said(on_rte: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        capsys.readouterr()
        assert cli.run(["report", *words]) == 2
        said: str = capsys.readouterr().err
        assert len(said.splitlines()) == 2
        return said

    take(on_rte, "head_only", 0)
    assert "Head only alone has predictions" in refused("task=rte", "examples=5")
    assert "no number of examples" in refused("task=rte", "examples=many")
    assert "do not go together" in refused("task=rte", "examples=5", "out=tables")
    take(on_rte, "bitfit", 0)
    for path in find_records(Path("runs")):
        write_record(Path("thin") / path.parent.relative_to("runs"), read_record(path))
    assert "made small" in refused("task=rte", "records=thin", "examples=5")
    changed = [line | {"sentence1": "another"} for line in lines(examples("bitfit"))]
    examples("bitfit").write_text("".join(json.dumps(line) + "\n" for line in changed))
    assert "no example is the same" in refused("task=rte", "examples=5")
    examples("bitfit").write_text("{}\n")
    assert "cannot be read" in refused("task=rte", "examples=5")


def test_texts_are_not_right_or_wrong(tiny_decoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["task=e2e", "task.decoding.beams=1", "task.decoding.max_new_tokens=4", "task.metrics=[bleu]"]
    run(tiny_decoder, *short, "data.limit_evaluation=4", "method=lora,full")
    [path] = [path for path in Path("runs").rglob("validation.examples.jsonl") if "full" in str(path)]
    assert set(lines(path)[0]) >= {"id", "text", "gold", "prediction"}
    assert cli.run(["report", "task=e2e", "examples=5"]) == 2
    assert "texts have no single right answer" in capsys.readouterr().err
