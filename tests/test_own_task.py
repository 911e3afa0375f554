"""A task file of one's own over tables, as docs/data.md shows it: run, resumed, checked; all kinds and formats; hub."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Value

from autolora_bench import cli
from autolora_bench.commands import check
from autolora_bench.config.compose import compose_config, composer, search_path, to_experiment
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData
from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord, Status, find_records, read_record

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data.md"
BLOCK = re.compile(r'^```\w+ title="((?:mine|data)/[^"]+)"\n(.*?)^```', re.MULTILINE | re.DOTALL)
FAST = ["device=cpu", "train.epochs=2", "train.batch_size=2", "model=any", "method=lora"]
KINDS: dict[str, dict[str, Any]] = {
    "classification": {
        "labels": ["dull", "funny"],
        "texts": ["sentence"],
        "metrics": ["accuracy"],
        "columns": {"sentence": "joke", "label": "verdict"},
        "rows": [{"joke": f"joke {n}", "verdict": ["dull", "funny"][n % 2]} for n in range(8)],
        "found": {"sentence": "joke 1", "label": 1},
    },
    "regression": {
        "texts": ["one", "other"],
        "metrics": ["pearson"],
        "maximum": 1.0,
        "columns": {"one": "a", "other": "b", "label": "how alike"},
        "rows": [{"b": f"the film {n}", "a": f"the {n} was good", "how alike": n / 8} for n in range(8)],
        "found": {"one": "the 1 was good", "other": "the film 1", "label": 0.125},
    },
    "tagging": {
        "entities": ["PER"],
        "metrics": ["f1"],
        "columns": {"tokens": "words"},
        "rows": [{"words": f"film {n} was", "tags": "B-PER I-PER O"} for n in range(8)],
        "found": {"tokens": ["film", "1", "was"], "tags": [1, 2, 0]},
    },
    "generation": {
        "metrics": ["bleu"],
        "columns": {"text": ["name", "food"], "references": "written"},
        "rows": [{"food": "rice", "name": f"Inn {n // 2}", "written": f"text {n}"} for n in range(8)],
        "found": {
            "fields": [["name", "Inn 1"], ["food", "rice"]],
            "references": ["text 2", "text 3"],
            "category": "",
            "text": "name : Inn 1 | food : rice",
        },
    },
}


@pytest.fixture(autouse=True)
def _in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check, "_found", {})  # as in a process of its own


@pytest.fixture
def jokes() -> None:
    """The files that the page shows."""
    for name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")


@pytest.fixture
def films(jokes: None) -> None:
    """The page's task over words that the tiny model knows."""
    for name, count in {"train": 12, "dev": 4}.items():
        lines = (f"{n},the film {n} was {['bad', 'good'][n % 2]},{n % 2}\n" for n in range(count))
        Path(f"data/jokes/{name}.csv").write_text("id,joke,verdict\n" + "".join(lines))


def words(model: Path | str, *more: str) -> list[str]:
    own = ["--config-dir", "mine", "task=jokes", "data=local", "data.dir=data"]
    return [*own, *FAST, f"model.checkpoint={model}", *more]


def records(results: str = "runs") -> list[RunRecord]:
    return [read_record(path) for path in find_records(Path(results))]


def refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that ends with exit status 2 says, in two lines."""
    capsys.readouterr()
    assert cli.run(command) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.out + said.err


@pytest.mark.usefixtures("jokes")
def test_the_pages_files_are_checked(tiny_encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", *words(tiny_encoder)]) == 0
    assert "1 runs, 0 problems" in capsys.readouterr().out


@pytest.mark.usefixtures("films")
def test_the_pages_task_is_run_and_not_run_again(
    tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words(tiny_encoder)) == 0
    [record] = records()
    assert (record.task, record.status, record.headline) == ("jokes", Status.completed, "accuracy")
    predicted = next(Path("runs").rglob("evaluate/validation.jsonl"))
    Path("labels.txt").write_text("dull\nfunny\ndull\nfunny\n")
    files = [f"predictions={predicted}", "references=labels.txt", "metrics=accuracy,macro_f1"]
    capsys.readouterr()
    assert cli.run(["score", "task=classification", *files]) == 0
    scored = json.loads(capsys.readouterr().out)["scores"]
    (evaluation,) = record.last.values()
    assert scored["accuracy"] == evaluation.scores["accuracy"]
    for flag in (["--config-dir", "mine"], ["--config-dir=mine"]):
        said = refused(["score", *flag, "task=jokes", *files], capsys)
        assert "say its kind, task=classification" in said
    assert record.data["splits"] == {"train": 12, "validation": 4}
    assert set(record.inputs["data"]) == {"jokes/train.csv", "jokes/dev.csv", "the examples"}
    exported = json.loads(next(Path("runs").rglob("export/config.json")).read_text())
    assert exported["label2id"] == {"dull": 0, "funny": 1}
    capsys.readouterr()
    assert cli.run(words(tiny_encoder)) == 0
    assert "1 done before" in capsys.readouterr().err
    assert cli.run(["report", "--config-dir", "mine", "task=jokes"]) == 0
    assert "| LoRA |" in capsys.readouterr().out


@pytest.mark.usefixtures("films")
def test_it_goes_on_where_it_stopped_but_not_with_other_rows(
    tiny_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signalled: Callable[..., None],
) -> None:
    assert cli.run(words(tiny_encoder, "results=whole")) == 0
    with monkeypatch.context() as patch:
        signalled(patch, 3)
        assert cli.run(words(tiny_encoder, "train.checkpoint_minutes=1e-9")) == 143
    before = Path("data/jokes/train.csv").read_text()
    Path("data/jokes/train.csv").write_text(before.replace("film 3", "film 4"))
    assert "jokes/train.csv" in refused(words(tiny_encoder, "train.checkpoint_minutes=1e-9"), capsys)
    Path("data/jokes/train.csv").write_text(before)
    assert cli.run(words(tiny_encoder, "train.checkpoint_minutes=1e-9")) == 0
    (whole,), (resumed,) = records("whole"), records()
    assert resumed.status is Status.completed
    assert (whole.config_id, whole.history) == (resumed.config_id, resumed.history)
    weights = [next(Path(name).rglob("weights.safetensors")).read_bytes() for name in ("whole", "runs")]
    assert weights[0] == weights[1]


def edit(path: str, old: str, new: str) -> Callable[[], None]:
    def change() -> None:
        text = Path(path).read_text()
        assert old in text
        Path(path).write_text(text.replace(old, new))

    return change


YAML, TRAIN = "mine/task/jokes.yaml", "data/jokes/train.csv"


@pytest.mark.usefixtures("jokes")
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            edit(TRAIN, "id,joke,", "id,jokes,"),
            ["train.csv: there is no column 'joke'", "did you mean jokes?"],
        ),
        (edit(TRAIN, "nine.,0", "nine.,2"), ["train.csv, row 2: verdict is '2', none of 0, 1"]),
        (edit(TRAIN, "nine.,0", "nine.,"), ["train.csv, row 2: verdict is missing"]),
        (edit(TRAIN, "nine.,0", "nine."), ["train.csv, line 3: 2 cells where the first line has 3"]),
        (lambda: Path(TRAIN).write_text(""), ["train.csv is empty"]),
        (lambda: Path(TRAIN).write_text("id,joke,verdict\n"), ["train.csv: there are no rows"]),
        (lambda: Path(TRAIN).unlink(), ["jokes/train.csv", "data.dir"]),
        (
            edit(YAML, "layout: csv", "layout: tsv"),
            ["train.csv is no file of local.layout=tsv", "layout: csv"],
        ),
        (edit(YAML, "train.csv", "tra*.csv"), []),
        (edit(YAML, "train.csv", "no*.csv"), ["local.splits.train", "no*.csv"]),
        (
            edit(YAML, "sentence: joke", "sentense: joke"),
            ["local.columns names 'sentense'", "sentence, label"],
        ),
        (edit(YAML, "sentence: joke", "sentence: 1"), ["local.columns.sentence=1 names no column"]),
        (edit(YAML, '["0", "1"]', '["0", "1", "2"]'), ["local.labels names 3 labels, task=jokes has 2"]),
        (edit(YAML, "layout: csv", "layout: csv\n  header: false"), ["local.header=false", "glue_tsv"]),
        (
            edit(YAML, "layout: csv", "layout: cvs"),
            ["task.local.layout", "'cvs', expected one of", "parquet"],
        ),
        (edit(YAML, ", validation: jokes/dev.csv", ""), ["says nothing of a split validation"]),
    ],
)
@pytest.mark.sample(one_in=4)
def test_what_is_wrong_is_said_in_one_place(
    damage: Callable[[], None],
    said: list[str],
    tiny_encoder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage()
    if not said:
        assert cli.run(["check", *words(tiny_encoder)]) == 0
        return
    for command in (["check", *words(tiny_encoder)], words(tiny_encoder)):
        answer = refused(command, capsys)
        assert all(part in answer for part in said), answer
    assert not [record for record in records() if record.status is Status.completed]


def own_task(kind: str, **sources: Any) -> ExperimentConfig:
    """The run that a task file with this table is composed to."""
    stated = {name: value for name, value in KINDS[kind].items() if name not in ("columns", "rows", "found")}
    stated |= {"name": "mine_own", "title": "Mine", "defaults": [f"/schema/task/{kind}@_here_"], **sources}
    Path("mine/task").mkdir(parents=True, exist_ok=True)
    Path("mine/task/mine_own.yaml").write_text(yaml.safe_dump(stated))
    source = "hub" if "hub" in sources else "local"
    chosen = [search_path(Path("mine")), "task=mine_own", f"data={source}", "model=any", "model.checkpoint=x"]
    with composer():
        return to_experiment(compose_config([*chosen, *(["data.dir=data"] if source == "local" else [])]))


def loaded(kind: str, layout: str, name: str) -> TaskData:
    splits = {"train": name, "validation": name}
    local = {"layout": layout, "splits": splits, "columns": KINDS[kind]["columns"]}
    experiment = own_task(kind, local=local)
    return load_data(experiment.task, experiment.data)


def written(kind: str) -> dict[str, str]:
    """Layout -> file of the kind's rows."""
    frame = pd.DataFrame(KINDS[kind]["rows"])
    Path("data").mkdir(exist_ok=True)
    frame.to_csv("data/a.csv", index=False)
    frame.to_csv("data/a.tsv", index=False, sep="\t")
    frame.to_json("data/a.jsonl", orient="records", lines=True)
    frame.to_parquet("data/a.parquet")
    return {layout: f"a.{layout}" for layout in ("csv", "tsv", "jsonl", "parquet")}


@pytest.mark.sample(keep=("generation",))
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_reads_the_same_rows_from_every_format(kind: str) -> None:
    found = {layout: loaded(kind, layout, name) for layout, name in written(kind).items()}
    assert len({data.fingerprint for data in found.values()}) == 1
    assert found["csv"].splits["train"][1] == KINDS[kind]["found"]


@pytest.mark.sample(keep=("tagging",))
@pytest.mark.parametrize(("kind", "model"), [("regression", "tiny_encoder"), ("tagging", "tiny_encoder")])
def test_other_kinds_are_trained_and_scored(kind: str, model: str, request: pytest.FixtureRequest) -> None:
    local = {"layout": "csv", "splits": {"train": "a.csv", "validation": "a.csv"}}
    written(kind)
    own_task(kind, local={**local, "columns": KINDS[kind]["columns"]})
    checkpoint = request.getfixturevalue(model)
    assert cli.run(words(checkpoint, "task=mine_own", "train.epochs=1")) == 0
    [record] = records()
    assert record.status is Status.completed
    assert set(KINDS[kind]["metrics"]) <= set(record.last["validation"].scores)


def test_names_of_classes_in_a_parquet_file_are_read_by_name() -> None:
    Path("data").mkdir()
    features = Features({"joke": Value("string"), "verdict": ClassLabel(names=["funny", "dull"])})
    rows = {"joke": ["a", "b"], "verdict": [0, 1]}
    Dataset.from_dict(rows, features=features).to_parquet("data/a.parquet")
    assert loaded("classification", "parquet", "a.parquet").splits["train"]["label"][:] == [1, 0]


def test_a_number_out_of_range_and_a_tag_of_no_entity_are_named() -> None:
    for kind, old, new, said in (
        ("regression", 0.125, 3.5, "row 2: how alike is 3.5, not a number from 0 to 1"),
        ("tagging", "B-PER I-PER O", "B-PER I-ORG O", "row 1: tags holds 'I-ORG', none of O, B-PER, I-PER"),
    ):
        written(kind)
        frame = pd.read_csv("data/a.csv").replace({old: new})
        frame.to_csv("data/a.csv", index=False)
        with pytest.raises(UserError) as caught:
            loaded(kind, "csv", "a.csv")
        assert f"a.csv, {said}" in caught.value.what


def test_a_folder_and_a_pattern_are_all_their_files() -> None:
    rows = KINDS["classification"]["rows"]
    for place, part in enumerate((rows[:5], rows[5:])):
        Path("data/parts").mkdir(parents=True, exist_ok=True)
        pd.DataFrame(part).to_csv(f"data/parts/part-{place}.csv", index=False)
    written("classification")
    whole = loaded("classification", "csv", "a.csv")
    for name in ("parts", "parts/part-*.csv"):
        assert loaded("classification", "csv", name).fingerprint == whole.fingerprint


def test_a_column_named_label_is_no_text() -> None:
    local = {"layout": "csv", "splits": {"train": "a.csv", "validation": "a.csv"}}
    with pytest.raises(UserError, match="label is the name of what is to be predicted"):
        own_task("classification", texts=["label"], local=local)


@pytest.mark.usefixtures("jokes")
def test_another_spelling_of_the_columns_is_another_configuration(tiny_encoder: Path) -> None:
    def identity() -> str:
        chosen = [search_path(Path("mine")), "task=jokes", "data=local", "data.dir=data", "model=any"]
        with composer():
            return config_id(to_experiment(compose_config([*chosen, "model.checkpoint=x"])))

    first = identity()
    shutil.move("data", "elsewhere")
    assert identity() == first
    edit(YAML, '["0", "1"]', '["1", "0"]')()
    assert identity() != first
