"""task=any: what is read off a table of the user's own, and what is refused rather than guessed."""

import csv
import json
import re
import shlex
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from autolora_bench.config.any_task import describe
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RegressionTask,
    TaggingTask,
)
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import TaskData, tag_names
from autolora_bench.errors import UserError
from autolora_bench.tables.profile import profile

Write = Callable[..., Path]
WRITTEN = ["task.kind=generation", "task.texts=[text]", "task.label=label"]
NEW = [{"text": f"new {name}", "label": name} for name in "ab"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(name: str, content: str | list[dict[str, Any]], ending: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(content, encoding=ending, newline="")
        return path

    return save


def planned(train: Path, *words: str) -> ExperimentConfig:
    with composer():
        return to_experiment(
            compose_config(["task=any", f"data.train='{train}'", "model=any", "model.checkpoint=x", *words])
        )


def read(train: Path, *words: str) -> tuple[Any, TaskData]:
    experiment = planned(train, *words)
    return experiment.task, load_data(experiment.task, experiment.data)


def rows(count: int, label: Callable[[int], Any], **more: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [
        {"text": f"text number {n}", "label": label(n), **{name: make(n) for name, make in more.items()}}
        for n in range(count)
    ]


def test_cells_of_a_csv_file_stay_as_they_are(write: Write) -> None:
    cells = ["n/a", "null", "NaN", "", " 1.50", 'say "hi", twice', "two\nlines", "ünï", "007", "None"]
    table = pd.DataFrame({"text": cells, "label": ["01", "1"] * 5})
    task, data = read(write("a.csv", table.to_csv(index=False)), "data.validation_share=0.2")
    assert sorted([*data.splits["train"]["text"], *data.splits["validation"]["text"]]) == sorted(cells)
    assert task.labels == ["01", "1"]
    assert any("text is empty in 1 examples" in note for note in data.notes)


@pytest.mark.parametrize(
    "labels",
    [["1.5", "1.50", "2.5"], ["true", "1", "0", "false"], ["it's", "It's", "null"], ["a b", "A b", "c,d"]],
)
@pytest.mark.sample(one_in=2)
def test_the_words_that_mend_labels_can_be_pasted(labels: list[str], write: Write) -> None:
    cells = {
        "text": [f"number {n}" for n in range(40)],
        "label": [labels[n % len(labels)] for n in range(40)],
    }
    table = pd.DataFrame(cells)
    path = write("a.csv", table.to_csv(index=False))
    with pytest.raises(UserError, match="one class that is spelled in several ways, or several") as error:
        planned(path, "task.kind=classification")
    _, _, words = error.value.mend.partition(", say ")
    [word] = shlex.split(words)
    assert set(planned(path, "task.kind=classification", word).task.labels) == set(labels)


def test_cells_of_several_types_have_the_classes_that_are_read(write: Write) -> None:
    rows = [{"text": f"number {n}", "label": (1, "x", 1.0, "1")[n % 4]} for n in range(40)]
    task, data = read(write("a.jsonl", rows))
    assert task.labels == ["1", "x"]
    assert sum(data.splits["train"]["label"]) + sum(data.splits["validation"]["label"]) == 10


@pytest.mark.parametrize(("name", "sign"), [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.sample(one_in=2)
def test_delimiters_and_a_byte_order_mark(name: str, sign: str, encoding: str, write: Write) -> None:
    lines = [f"id{sign}text{sign}label", *(f"{n}{sign}it is {n}{sign}{'ab'[n % 2]}" for n in range(20))]
    task, data = read(write(name, "\r\n".join(lines), encoding))
    assert (task.texts, task.labels) == (["text"], ["a", "b"])
    assert len(data.splits["train"]) == 18


def test_a_tsv_file_may_have_quotation_marks_that_mean_nothing(write: Write) -> None:
    lines = ["text\tlabel", *(f'"Hello" number {n}\t{"ab"[n % 2]}' for n in range(10))]
    _, data = read(write("a.tsv", "\n".join(lines)))
    assert all(text.startswith('"Hello" ') for text in data.splits["train"]["text"])


def test_a_quotation_mark_at_the_start_of_a_text_joins_no_lines_of_a_tsv_file(write: Write) -> None:
    texts = [f"row {n}" for n in range(20)]
    texts[3], texts[9] = '"And so it begins', 'he said"'
    lines = ["text\tlabel", *(f"{text}\t{'ab'[n % 2]}" for n, text in enumerate(texts))]
    _, data = read(write("a.tsv", "\n".join(lines)))
    found = {row["text"]: row["label"] for split in data.splits.values() for row in split}
    assert found == {text: n % 2 for n, text in enumerate(texts)}


def test_cells_of_several_lines_in_a_tsv_file_that_needs_its_quotation_marks(write: Write) -> None:
    texts = [f"row {n}" for n in range(20)]
    texts[3] = 'two\n"quoted"\tlines'
    table = pd.DataFrame({"text": texts, "label": ["a", "b"] * 10})
    _, data = read(write("a.tsv", table.to_csv(index=False, sep="\t")))
    assert {row["text"] for split in data.splits.values() for row in split} == set(texts)


def test_marks_of_documents_in_a_table_are_no_sentences(write: Write) -> None:
    mark = {"tokens": ["-DOCSTART-"], "tags": ["O"]}
    sentences = [{"tokens": ["in", f"Rome{n}"], "tags": ["O", "B-place"]} for n in range(20)]
    data = read(write("a.jsonl", [mark, *sentences[:9], mark, *sentences[9:]]))[1]
    found = [tokens for split in data.splits.values() for tokens in split["tokens"][:]]
    assert sorted(found) == sorted(row["tokens"] for row in sentences)


def test_an_index_that_pandas_wrote_is_no_text(write: Write) -> None:
    table = pd.DataFrame(
        {"phrase": [f"some words here {n}" for n in range(12)], "verdict": ["no", "yes"] * 6}
    )
    task = planned(write("a.csv", table.to_csv())).task
    assert isinstance(task, ClassificationTask)
    assert (task.texts, task.table.label if task.table else "") == (["phrase"], "verdict")


def test_the_same_rows_in_every_format_are_the_same_examples(write: Write, tmp_path: Path) -> None:
    plain = rows(40, lambda n: ["bad", "good"][n % 2])
    frame = pd.DataFrame(plain)
    files = [
        write("csv/a.csv", frame.to_csv(index=False)),
        write("tsv/a.tsv", frame.to_csv(index=False, sep="\t")),
        write("json/a.jsonl", plain),
        write("list/a.json", json.dumps(plain)),
        tmp_path / "a.parquet",
    ]
    frame.to_parquet(files[-1])
    found = [read(path) for path in files]
    assert len({data.fingerprint for _, data in found}) == 1
    assert {task.name for task, _ in found} == {"a"}


def test_class_names_of_the_file_keep_their_order(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg", "mixed"])})
    columns = {"text": [f"t {n}" for n in range(30)], "label": [n % 3 for n in range(30)]}
    Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "a.parquet")
    task, data = read(tmp_path / "a.parquet")
    assert task.labels == ["pos", "neg", "mixed"]
    both = [*data.splits["train"], *data.splits["validation"]]
    assert {row["text"]: row["label"] for row in both} == dict(zip(*columns.values(), strict=True))


@pytest.mark.parametrize(
    ("values", "labels"),
    [([10, 9, 2], ["2", "9", "10"]), ([True, False], ["false", "true"]), (["b ", "a"], ["a", "b"])],
)
@pytest.mark.sample(one_in=2)
def test_classes_are_in_a_fixed_order(values: list[Any], labels: list[str], write: Write) -> None:
    path = write("a.jsonl", rows(30, lambda n: values[n % len(values)]))
    task = planned(path, "task.kind=classification").task
    assert isinstance(task, ClassificationTask)
    assert task.labels == labels
    chosen = planned(path, "task.kind=classification", f"task.labels=[{','.join(labels[::-1])}]")
    assert isinstance(chosen.task, ClassificationTask)
    assert chosen.task.labels == labels[::-1]
    assert config_id(chosen) != config_id(planned(path, "task.kind=classification"))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"text": "t", "label": [0, 1]}, (ClassificationTask, ["text"], "label")),
        ({"sentence1": "t", "sentence2": "t", "label": ["no", "yes"]}, (ClassificationTask, 2, "label")),
        (
            {"premise": "t", "hypothesis": "t", "gold_label": ["a", "b"]},
            (ClassificationTask, 2, "gold_label"),
        ),
        ({"text1": "t", "text2": "t", "score": [0.5, 1.25, 3.0]}, (RegressionTask, 2, "score")),
        ({"idx": range, "review": "t", "stars": [1.5, 2.0, 4.5]}, (RegressionTask, ["review"], "stars")),
        (
            {"text": "t", "label": [0, 1], "source": ["x"], "date": "t"},
            (ClassificationTask, ["text"], "label"),
        ),
        ({"text": "t", "label": [0, 1], "label_text": ["n", "p"]}, (ClassificationTask, ["text"], "label")),
        (
            {"tokens": [[f"A{n}", "b"] for n in range(40)], "ner_tags": [["B-X", "O"]]},
            (TaggingTask, ["tokens"], "ner_tags"),
        ),
        (
            {"tokens": [f"A{n} b" for n in range(40)], "tags": ["B-X O", "O O"]},
            (TaggingTask, ["tokens"], "tags"),
        ),
        ({"input": "t", "output": "t"}, (GenerationTask, ["input"], "output")),
        ({"document": "t", "summary": "t", "id": range}, (GenerationTask, ["document"], "summary")),
    ],
)
@pytest.mark.sample(one_in=2)
def test_what_leaves_no_doubt_is_read(
    columns: dict[str, Any], expected: tuple[type, list[str] | int, str], write: Write
) -> None:
    def cell(made: Any, n: int) -> Any:
        if made is range:
            return n
        return f"quite another text number {n} of them" if made == "t" else made[n % len(made)]

    kind, inputs, label = expected
    found = [{name: cell(made, n) for name, made in columns.items()} for n in range(40)]
    task, data = read(write("a.jsonl", found))
    assert type(task) is kind
    assert task.table.label == label
    assert task.table.inputs == inputs or len(task.table.inputs) == inputs
    assert describe(task).startswith("task a read as: ")
    assert {*data.splits} == {"train", "validation"}


def test_very_many_classes_are_read_where_they_are_said_to_be_classes(write: Write) -> None:
    path = write("a.jsonl", rows(2400, lambda n: f"c{n % 1200}"))
    with pytest.raises(UserError, match="very many different texts") as caught:
        planned(path)
    assert "say task.kind=classification" in caught.value.mend
    task, data = read(path, caught.value.mend.split()[1])
    names = sorted({f"c{n}" for n in range(1200)})
    assert task.labels == names
    train = data.splits["train"]
    assert all(
        names[label] == f"c{int(text.split()[-1]) % 1200}"
        for text, label in zip(train["text"], train["label"], strict=True)
    )
    other = write("b.jsonl", rows(1300, lambda n: f"c{n}"))
    with pytest.raises(
        UserError, match=r"validation \(.*b\.jsonl\) has classes that train has not: c1200, c1201"
    ):
        planned(path, "task.kind=classification", f"data.validation={other}")


@pytest.mark.parametrize("kind", ["classification", "regression", "tagging"])
def test_a_label_of_a_type_that_is_not_read_is_told(kind: str, tmp_path: Path) -> None:
    for label in ([date(2020, 1, 1 + n % 2) for n in range(20)], [Decimal(n) / 4 for n in range(20)]):
        table = {"text": [f"t {n}" for n in range(20)], "label": label}
        pq.write_table(pa.table(table), tmp_path / "a.parquet")
        with pytest.raises(UserError, match="label holds neither texts nor numbers alone") as caught:
            planned(tmp_path / "a.parquet", "task.texts=[text]", "task.label=label", f"task.kind={kind}")
        assert "task.kind" not in caught.value.mend


def test_a_list_is_no_class(write: Write) -> None:
    path = write("a.jsonl", rows(20, lambda n: ["a", "b"[: n % 2]]))
    with pytest.raises(UserError, match="label holds lists of texts, and a class is a single text"):
        planned(path, "task.texts=[text]", "task.label=label", "task.kind=classification")


@pytest.mark.parametrize("label", [lambda n: "ab"[n % 2], lambda n: n / 7])
def test_three_texts_are_refused_of_a_model_that_reads_a_pair(label: Any, write: Write) -> None:
    path = write("a.jsonl", rows(20, label, a=lambda n: f"a {n}", b=lambda n: f"b {n}"))
    words = ["task=any", f"data.train='{path}'", "task.label=label", "model=minilm"]
    with (
        composer(),
        pytest.raises(UserError, match="names 3 columns, and the model reads one text or a pair"),
    ):
        to_experiment(compose_config([*words, "task.texts=[text,a,b]"]))
    with composer():
        assert to_experiment(compose_config([*words, "task.texts=[text,a]"])).task.table.inputs == [
            "text",
            "a",
        ]  # type: ignore[union-attr]


def test_the_class_that_f1_is_of_is_told_and_can_be_another(write: Write) -> None:
    """The classes of one's own table are in the alphabet's order."""
    path = write("a.jsonl", rows(20, lambda n: ["offensive", "ok"][n % 2]))
    task = read(path, "task.metrics=[f1,accuracy]")[0]
    assert "; f1 is of ok (task.labels=[OTHER,CLASS]" in describe(task)
    turned = read(path, "task.metrics=[f1,accuracy]", "task.labels=[ok,offensive]")[0]
    assert "; f1 is of offensive (" in describe(turned)
    assert "f1 is of" not in describe(read(path)[0])


@pytest.mark.parametrize(
    ("columns", "words", "said"),
    [
        (
            {"title": "t", "body": "t", "verdict": ["n", "y"]},
            [],
            ["title (text)", "task.texts", "task.label"],
        ),
        ({"text": "t", "review": "t", "label": [0, 1]}, [], ["not clear", "task.texts"]),
        ({"review": "t", "stars": [0, 1], "verdict": ["a", "b"]}, [], ["not clear", "stars", "verdict"]),
        ({"text": "t", "stars": [1, 2, 3]}, [], ["classes, or a scale", "task.kind=regression"]),
        ({"text": "t", "label": "t"}, [], ["task.kind=generation"]),
        ({"a": "t", "b": "t"}, ["task.kind=generation"], ["not clear"]),
        ({"tokens": [["a"]], "pos": [["O"]], "ner": [["O"]], "tags": [["O"]]}, [], ["not clear"]),
        ({"tokens": [["a"]], "tags": [["NOUN"]]}, [], ["NOUN", "IOB2"]),
        ({"text": "t", "label": [0, 1]}, ["task.texts=[txt]"], ["no column 'txt'", "did you mean text"]),
        ({"text": "t", "label": [0, 1]}, ["task.label=labl"], ["no column 'labl'", "did you mean label"]),
        ({"text": "t", "label": [0, 1]}, ["task.labels=[0]"], ["leaves out 1", "task.labels=[0,1]"]),
        (
            {"text": "t", "label": ["a, b", "c"]},
            ["task.labels=[a, b,c]"],
            ["leaves out a, b", "name what the data hold: 'task.labels=[\"a, b\",c]'"],
        ),
        ({"text": "t", "label": ["x"]}, [], ["one value alone"]),
        (
            {"text": "t", "label": ["1", "0", "1.0"]},
            ["task.kind=classification"],
            ["holds 1 and 1.0", "one way"],
        ),
        ({"text": "t", "label": ["false", "1", "x"]}, ["task.kind=classification"], ["holds false and 1"]),
        ({"text": "t", "label": ["True", "true", "False"]}, [], ["holds True and true"]),
        ({"text": "t", "label": ["1", "+1", "x"]}, ["task.kind=classification"], ["holds 1 and +1"]),
        (
            {"text": "t", "label": ["0.0", "1.0", "2.0"]},
            [],
            ["classes, or a scale", "task.kind=classification"],
        ),
        (
            {"text": "t", "label": ["2023_01", "2_5"]},
            ["task.kind=regression"],
            ["does not hold numbers alone"],
        ),
        (
            {"text": "t", "score": ["1.5", "2.5", "nan", "inf"]},
            [],
            ["beside nan, inf", "leave those rows out"],
        ),
        ({"text": "t", "label": ["x", "y"]}, ["task.kind=regression"], ["does not hold numbers alone"]),
        ({"text": "t", "label": [0, 1]}, ["task.texts=[text]", "task.label=text"], ["read off the input"]),
    ],
)
@pytest.mark.sample(one_in=3)
def test_doubt_is_two_lines_and_no_guess(
    columns: dict[str, Any], words: list[str], said: list[str], write: Write
) -> None:
    found = [
        {
            name: f"one text of many {n}" if made == "t" else made[n % len(made)]
            for name, made in columns.items()
        }
        for n in range(30)
    ]
    with pytest.raises(UserError) as caught:
        planned(write("a.jsonl", found), *words)
    text = f"{caught.value.what}\n{caught.value.mend}"
    assert caught.value.mend
    assert text.count("\n") == 1
    for part in said:
        assert part in text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text,label\na,b\nc,d,e\n", "line 3: 3 cells"),
        ("a.csv", "text,label\na,b\nc\n", "line 3: 1 cells"),
        ("a.csv", "text,text,label\na,b,c\n", "twice"),
        ("a.csv", "", "empty"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.parquet", "", "cannot be read"),
        ("a.csv", 'text,label\n"a,b\n', "line 2"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "cannot be read"),
        ("a.parquet", "no parquet", "cannot be read"),
        ("a.txt", "text,label\na,b\n", "no table"),
    ],
)
@pytest.mark.sample(one_in=2)
def test_a_broken_table_is_named(name: str, content: str, said: str, write: Write) -> None:
    with pytest.raises(UserError, match=said) as caught:
        planned(write(name, content))
    assert name in caught.value.what


def test_a_latin_1_file_is_refused(write: Write) -> None:
    path = write("a.csv", "text,label\nna\u00efve,a\n", "latin-1")
    with pytest.raises(UserError, match="not UTF-8"):
        planned(path)


@pytest.mark.parametrize(
    ("value", "said"), [(None, "row 7: label is missing"), ("", "row 7: label is missing")]
)
def test_a_row_without_a_label_is_named(value: Any, said: str, write: Write) -> None:
    experiment = planned(write("a.jsonl", rows(20, lambda n: value if n == 6 else "ab"[n % 2])))
    with pytest.raises(UserError, match=said):
        load_data(experiment.task, experiment.data)


def test_a_class_of_validation_alone_is_refused(write: Write) -> None:
    train = write("a.jsonl", rows(20, lambda n: "ab"[n % 2]))
    other = write("b.jsonl", rows(4, lambda n: "abc"[n % 3]))
    with pytest.raises(UserError, match=r"validation \(.*/b\.jsonl\) has classes that train has not: c"):
        planned(train, f"data.validation={other}")
    with pytest.raises(UserError, match=r"test \(.*/b\.jsonl\) has classes that train has not: c"):
        planned(train, f"data.test={other}")


def test_the_part_held_out_is_stratified_and_always_the_same(write: Write) -> None:
    path = write("a.jsonl", rows(100, lambda n: "rare" if n % 10 == 0 else "often"))
    first, again = read(path)[1], read(path, "seed=7")[1]
    assert first.splits["validation"][:] == again.splits["validation"][:]
    names = [["often", "rare"][label] for label in first.splits["validation"]["label"]]
    assert sorted(names) == ["often"] * 9 + ["rare"]
    texts = {split: {*part["text"]} for split, part in first.splits.items()}
    assert not texts["train"] & texts["validation"]
    assert any(
        "no validation split" in note and "10 of the training examples" in note for note in first.notes
    )


def test_validation_and_test_files_are_read_as_they_are(write: Write) -> None:
    train = write("a.jsonl", rows(20, lambda n: "ab"[n % 2]))
    frame = pd.DataFrame([{"text": f"another {n}", "label": "ba"[n % 2]} for n in range(6)])
    task, data = read(
        train,
        f"data.validation={write('dev.csv', frame.to_csv(index=False))}",
        f"data.test={write('test.tsv', frame[:4].to_csv(index=False, sep=chr(9)))}",
    )
    assert {name: len(part) for name, part in data.splits.items()} == {
        "train": 20,
        "validation": 6,
        "test": 4,
    }
    assert data.splits["validation"]["label"][:2] == [1, 0]
    assert (task.table.validation_share, task.test) == (0.0, ["test"])
    assert not data.notes


@pytest.mark.parametrize("shown", [True, False])
def test_reading_leaves_progress_bars_as_they_were(shown: bool, write: Write) -> None:
    """A run has switched them off: they would stand between its own lines."""
    before = datasets.is_progress_bar_enabled()
    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
    try:
        read(write("a.jsonl", rows(20, lambda n: "ab"[n % 2])))
        assert datasets.is_progress_bar_enabled() is shown
    finally:
        (datasets.enable_progress_bars if before else datasets.disable_progress_bars)()


def test_columns_that_are_passed_over_are_told(write: Write) -> None:
    """`text` is chosen by its name, and the passage that it asks about is not."""
    table = [
        {"id": n, "text": f"question {n}", "passage": f"of {n}", "label": "ab"[n % 2]} for n in range(20)
    ]
    path = write("a.csv", pd.DataFrame(table).to_csv(index=False))
    told = "columns that are not read: id, passage (task.texts says which are)"
    assert told in read(path)[1].notes
    said = read(path, "task.texts=[text,passage]")[1].notes
    assert "columns that are not read: id (task.texts says which are)" in said


def test_a_test_file_without_labels_is_not_dropped_in_silence(write: Write) -> None:
    train = write("a.jsonl", rows(20, lambda n: "ab"[n % 2]))
    unlabelled = write(
        "test.csv", pd.DataFrame([{"text": f"new {n}", "label": None} for n in range(4)]).to_csv()
    )
    with pytest.raises(UserError, match=r"data\.test=.*has no labels in its column 'label'"):
        planned(train, f"data.test={unlabelled}")


def test_a_folder_and_a_pattern_stand_for_their_files(write: Write) -> None:
    for part in range(2):
        write(f"mine/train-{part}.jsonl", rows(10, lambda n, part=part: "ab"[(n + part) % 2]))  # type: ignore[misc]
    folder = write("mine/notes.txt", "not a table").parent
    whole, part = read(folder), read(folder / "train-*.jsonl")
    assert whole[1].fingerprint == part[1].fingerprint
    assert (whole[0].name, part[0].name) == ("mine", "mine")
    assert sum(map(len, whole[1].splits.values())) == 20


def test_tags_and_texts_to_write(tmp_path: Path, write: Write) -> None:
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
    columns = {
        "tokens": [[f"Anna{n}", "went", "to", "Rome"] for n in range(20)],
        "ner_tags": [[1, 0, 0, 3]] * 20,
    }
    Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "ner.parquet")
    task, data = read(tmp_path / "ner.parquet")
    assert task.entities == ["PER", "LOC"]
    assert [tag_names(task)[tag] for tag in data.splits["train"]["tags"][0]] == ["B-PER", "O", "O", "B-LOC"]
    texts = [{"input": f"name: {n % 10}", "output": f"It is {n}."} for n in range(30)]
    task, data = read(write("gen.jsonl", texts))
    assert task.metrics == ["bleu", "rouge_l_google"]
    found = [*data.splits["train"], *data.splits["validation"]]
    assert {row["text"]: sorted(row["references"]) for row in found} == {
        f"name: {n}": sorted(f"It is {n + more}." for more in (0, 10, 20)) for n in range(10)
    }


def test_what_is_in_a_file_is_part_of_the_identity_and_its_place_is_not(write: Write) -> None:
    content = rows(20, lambda n: "ab"[n % 2])
    one, copy = write("one/reviews.jsonl", content), write("two/reviews.jsonl", content)
    other = write("three/reviews.jsonl", rows(20, lambda n: "ba"[n % 2]))
    ids = [config_id(planned(path)) for path in (one, copy, other)]
    assert ids[0] == ids[1] != ids[2]
    assert planned(one).task.name == planned(other).task.name == "reviews"
    assert config_id(planned(one, "data.validation_share=0.2")) != ids[0]


def test_the_training_file_is_not_scored_and_none_is_read_twice(write: Write) -> None:
    one, copy = (write(f"{name}.jsonl", rows(20, lambda n: "ab"[n % 2])) for name in ("a", "b"))
    with pytest.raises(UserError, match=r"is the data of data\.train"):
        planned(one, f"data.test={copy}")
    with pytest.raises(UserError, match="the same content twice"):
        planned(one.parent)
    other, again = (write(f"{name}.jsonl", rows(8, lambda n: "ba"[n % 2])) for name in ("c", "d"))
    with pytest.raises(UserError, match=r"data.test=.* is the data of data.validation"):
        planned(one, f"data.validation={other}", f"data.test={again}")


def test_rows_of_one_input_are_held_out_together(write: Write) -> None:
    found = rows(60, lambda n: "ab"[n % 2])
    data = read(write("a.jsonl", [*found, *found, *found[:30]]))[1]
    texts = {split: {*part["text"]} for split, part in data.splits.items()}
    assert not texts["train"] & texts["validation"]
    assert sum(map(len, data.splits.values())) == 150
    assert {*map(len, texts.values())} == {54, 6}
    with pytest.raises(UserError, match=r"0.1 of 2 different training inputs leaves none"):
        read(write("b.jsonl", [{"text": f"t {n % 2}", "label": "ab"[n % 2]} for n in range(40)]))


def test_inputs_that_are_also_trained_on_are_counted(write: Write) -> None:
    train = write("a.jsonl", rows(20, lambda n: "ab"[n % 2]))
    other = write("b.jsonl", [*rows(3, lambda n: "ab"[n % 2]), {"text": "another", "label": "a"}])
    [note] = read(train, f"data.test={other}", "data.validation=" + str(write("c.jsonl", NEW)))[1].notes
    assert note == "test: 3 of 4 examples have inputs that are also trained on"


@pytest.mark.parametrize("name", ["tags", "references"])
def test_an_input_may_have_the_name_of_another_tasks_answer(name: str, write: Write) -> None:
    """The same as of a column with any other name."""
    words = ["task.kind=classification", "task.label=label", "data.held_out=0.25"]

    def found(column: str) -> TaskData:
        made = [{column: f"text {n % 40}", "label": "ab"[n % 2]} for n in range(200)]
        train = write(f"{column}.jsonl", made)
        other = write(f"{column}_other.jsonl", [*made[:3], {column: " ", "label": "a"}])
        notes = read(train, *words[:2], f"data.validation={other}")[1].notes
        assert "validation: 3 of 4 examples have inputs that are also trained on" in notes
        assert "validation: 1 of 4 examples have an empty text" in notes
        return read(train, *words)[1]

    ours, plain = found(name), found("words")
    for split, part in ours.splits.items():
        assert part[name][:] == plain.splits[split]["words"][:]
        assert part["label"][:] == plain.splits[split]["label"][:]


def test_empty_inputs_of_a_text_to_write_are_counted(write: Write) -> None:
    made = [{"a": "" if n == 3 else f"text {n}", "b": f"{n}", "out": f"out {n}"} for n in range(20)]
    words = ["task.kind=generation", "task.texts=[a,b]", "task.label=out", "task.evaluation=[test]"]
    other = write("b.jsonl", [{"a": "new", "b": "text", "out": "x"}])
    notes = read(write("a.jsonl", made), *words, f"data.test={other}")[1].notes
    assert "train: 1 of 20 examples have an empty text" in notes
    assert not any(note.startswith("test") for note in notes)


def test_empty_texts_are_counted(write: Write) -> None:
    train = write("a.jsonl", rows(20, lambda n: "ab"[n % 2]))
    other = write(
        "b.jsonl", [{"text": " ", "label": "a"}, {"text": "new", "label": "b"}, {"text": "", "label": "b"}]
    )
    notes = read(train, f"data.validation={other}")[1].notes
    assert "validation: 2 of 3 examples have an empty text" in notes
    assert not any(note.startswith("train") for note in notes)


def test_examples_of_one_input_are_tuned_on_one_side(write: Write) -> None:
    found = [{"text": f"text {n % 40}", "label": "ab"[n % 2]} for n in range(400)]
    data = read(write("a.jsonl", found), "data.held_out=0.25", "data.validation_share=0.1")[1]
    train, held = ({*data.splits[split]["text"][:]} for split in ("train", "held_out"))
    assert len(held) == 9
    assert not train & held
    assert not any("also trained on" in note for note in data.notes)


def test_a_part_is_held_out_only_to_be_scored(write: Write) -> None:
    train = write("a.jsonl", rows(20, lambda n: "ab"[n % 2]))
    data = read(train, f"data.test={write('b.jsonl', NEW)}", "task.evaluation=[test]")[1]
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 20, "test": 2}


def test_a_benchmarks_name_is_not_taken(write: Write) -> None:
    train = write("rte.jsonl", rows(20, lambda n: "ab"[n % 2]))
    with pytest.raises(UserError, match="one of the benchmarks") as caught:
        planned(train)
    assert caught.value.mend == "say task.name=NAME"
    assert planned(train, "task.name=mine").task.name == "mine"


def test_words_are_counted_over_the_cells_that_hold_some(write: Write) -> None:
    cells = [None if n % 3 else "three words each" for n in range(3000)]
    [text, _] = profile([write("a.jsonl", [{"text": cell, "label": 1} for cell in cells])])
    assert (text.rows, text.missing, text.words) == (3000, 2000, pytest.approx(3.0))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=rte", "data=generated", "data.train=x.csv"], "has data of its own"),
        (["task=rte", "data=files"], "^data=files with task=rte, which has data of its own"),
        (["task=any", "data.train=", "data.test=x.csv"], "data.train is empty"),
        (["task=any", "data.train=x.csv", "data.subset=en"], "data.subset with data=files"),
        (["task=any"], "needs your data"),
        (["task=any", "data=hub"], "needs the data set"),
        (["task=any", "data=local", "data.dir=x"], "does not read data=local"),
        (["task=any", "data=hub", "data.name=a/b", "data.train=x.csv"], "data.train with data=hub"),
        (["task=any", "data.train=none.csv"], "no file none.csv"),
        (["task=any", "data.train=."], "holds no table"),
    ],
)
@pytest.mark.sample(one_in=2)
def test_settings_that_do_not_go_together(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with composer(), pytest.raises(UserError, match=said) as caught:
        to_experiment(compose_config([*words, "model=any", "model.checkpoint=x"]))
    assert caught.value.mend


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task.decoding.beams=3"], "task.decoding of data that are read as classification"),
        (["task.stride=2"], "task.stride of data that are read as classification"),
        (["task.kind=regression", "task.labels=[0,1]"], "task.labels of data that are read as regression"),
        ([*WRITTEN, "task.long=truncate"], "task.long of data that are read as generation"),
        (
            ["data.validation=dev.jsonl", "data.validation_share=0.3"],
            "validation_share=0.3, and there is a split validation",
        ),
        (
            ["data.test=dev.jsonl", "task.evaluation=[test]", "data.validation_share=0.3"],
            "validation is not in task.evaluation",
        ),
        ([*WRITTEN, "task.decoding.beams=3", "task.epoch_records=5"], ""),
        (["task.kind=classification", "task.labels=[1,0]", "data.validation_share=0.3"], ""),
        (["data.validation=dev.jsonl", "data.validation_share=0.1", "task.stride=0"], ""),
    ],
)
def test_what_would_change_nothing_is_refused(
    words: list[str], said: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train = write("a.jsonl", rows(20, lambda n: n % 2))
    write("dev.jsonl", [{"text": f"new {n}", "label": n % 2} for n in range(6)])
    if not said:
        assert planned(train, *words).task.name == "a"
        return
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        planned(train, *words)
    assert caught.value.mend.startswith("leave it out, or say ")


def test_a_file_that_changes_between_plan_and_run_is_refused(write: Write) -> None:
    path = write("a.jsonl", rows(20, lambda n: "ab"[n % 2]))
    experiment = planned(path)
    write("a.jsonl", rows(22, lambda n: "ab"[n % 2]))
    with pytest.raises(UserError, match="changed since this run was planned"):
        load_data(experiment.task, experiment.data)


def test_numbers_that_a_float_column_holds_for_missing_ones_are_missing(tmp_path: Path) -> None:
    table = {"text": [f"t {n}" for n in range(10)], "label": [*(n / 4 for n in range(9)), float("nan")]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    experiment = planned(tmp_path / "a.parquet")
    assert isinstance(experiment.task, RegressionTask)
    assert experiment.task.maximum == 2.0
    with pytest.raises(UserError, match="row 10: label"):
        load_data(experiment.task, experiment.data)


def test_reading_a_table_leaves_other_readers_their_limit(tmp_path: Path) -> None:
    table = tmp_path / "long.csv"
    table.write_text(f"text,label\n{'x' * 200_000},a\n", encoding="utf-8")
    before = csv.field_size_limit()
    assert [column.name for column in profile([table])] == ["text", "label"]
    assert csv.field_size_limit() == before
