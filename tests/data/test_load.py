"""Limits, notes, fingerprints and the schema check of load_data; what the shipped task files say."""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import (
    ClassificationTask,
    GenerationTask,
    RegressionTask,
    TaggingTask,
    TaskConfig,
)
from autolora_bench.data.files import split_names
from autolora_bench.data.load import load_data
from autolora_bench.data.schema import Loaded, check_schema, fingerprint
from autolora_bench.errors import UserError
from autolora_bench.metrics.registry import lookup

GENERATED = DataConfig(source=Source.generated)
TASKS = ["cola", "sst2", "mrpc", "stsb", "rte", "qnli", "qqp", "mnli", "bionlp", "e2e", "webnlg"]


@pytest.mark.parametrize("name", TASKS)
def test_every_shipped_task_names_every_split_of_every_source(
    name: str, task_of: Callable[[str], TaskConfig]
) -> None:
    task = task_of(name)
    names = split_names(task)
    assert task.hub
    assert task.local
    assert task.generated
    assert list(task.hub.files) == list(task.local.splits) == list(task.generated.rows) == names
    assert list(task.local.official_rows) == names
    assert [lookup(metric).name for metric in task.metrics] == task.metrics
    assert task.hub.revision


def test_mnli_is_judged_on_matched_first(task_of: Callable[[str], TaskConfig]) -> None:
    task = task_of("mnli")
    assert task.evaluation == ["validation", "validation_mismatched"]
    assert task.local
    assert task.local.splits["validation"].endswith("dev_matched.tsv")


def test_limits_are_stable_balanced_and_said(task_of: Callable[[str], TaskConfig]) -> None:
    task = task_of("mnli")
    limited = replace(GENERATED, limit=30, limit_evaluation=9)
    whole, few = load_data(task, GENERATED), load_data(task, limited)
    assert [len(rows) for rows in few.splits.values()] == [30, 9, 9]
    assert Counter(few.splits["train"]["label"]) == {0: 10, 1: 10, 2: 10}
    rows = [json.dumps(row) for row in whole.splits["train"]]
    positions = [rows.index(json.dumps(row)) for row in few.splits["train"]]
    assert positions == sorted(positions)
    assert "train: limited to 30 of 512 examples" in few.notes
    assert "validation_mismatched: limited to 9 of 128 examples" in few.notes
    assert few.fingerprint == load_data(task, limited).fingerprint != whole.fingerprint
    untouched = load_data(task, replace(GENERATED, limit=1000))
    assert untouched.fingerprint == whole.fingerprint
    assert untouched.notes == whole.notes


@pytest.mark.parametrize("name", ["mrpc", "stsb"])
def test_shuffled_labels_are_those_of_the_same_examples(
    name: str, task_of: Callable[[str], TaskConfig]
) -> None:
    task, data = task_of(name), replace(GENERATED, limit=200, held_out=0.1)
    true, mixed = load_data(task, data), load_data(task, replace(data, shuffle_labels=True))
    assert (
        mixed.fingerprint
        == load_data(task, replace(data, shuffle_labels=True)).fingerprint
        != true.fingerprint
    )
    assert mixed.splits["held_out"].to_list() == true.splits["held_out"].to_list()
    ours, theirs = mixed.splits["train"], true.splits["train"]
    assert ours.features == theirs.features
    assert ours.remove_columns("label").to_list() == theirs.remove_columns("label").to_list()
    assert Counter(ours["label"][:]) == Counter(theirs["label"][:])
    agree = sum(a == b for a, b in zip(ours["label"][:], theirs["label"][:], strict=True)) / len(ours)
    by_chance = sum((count / len(ours)) ** 2 for count in Counter(ours["label"][:]).values())
    assert abs(agree - by_chance) < 0.12
    assert any("are shuffled" in note for note in mixed.notes)


def test_a_benchmarks_own_repeats_are_said_where_a_part_is_held_out(
    task_of: Callable[[str], TaskConfig], shared_data: Any
) -> None:
    """CoLA's training data hold some sentences twice."""
    data = load_data(task_of("cola"), DataConfig(source=Source.local, dir=str(shared_data), held_out=0.1))
    trained = {*data.splits["train"]["sentence"][:]}
    count = sum(text in trained for text in data.splits["held_out"]["sentence"][:])
    assert count > 0
    assert f"held_out: {count} of 855 examples have inputs that are also trained on" in data.notes


def test_a_limit_makes_a_subset_of_real_data(task_of: Callable[[str], TaskConfig], shared_data: Any) -> None:
    data = DataConfig(source=Source.local, dir=str(shared_data), limit=100)
    assert load_data(task_of("rte"), data).subsets == {"train": (100, 2490)}


@pytest.mark.parametrize("name", ["limit", "limit_evaluation"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_below_one_is_refused(
    name: str, value: int, task_of: Callable[[str], TaskConfig], refused: Callable[..., UserError]
) -> None:
    refused(lambda: load_data(task_of("rte"), replace(GENERATED, **{name: value})), f"data.{name} is {value}")  # type: ignore[arg-type]


def test_local_without_a_folder(
    task_of: Callable[[str], TaskConfig], refused: Callable[..., UserError]
) -> None:
    refused(lambda: load_data(task_of("rte"), DataConfig(source=Source.local)), "data=local", "folder")


def test_unchanged_files_are_read_once_and_changed_ones_again(
    task_of: Callable[[str], TaskConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "glue" / "RTE"
    folder.mkdir(parents=True)
    head, row = "index\tsentence1\tsentence2\tlabel\n", "{}\t{}\tb\tentailment\n"
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text(head + row.format(0, "a"))
    data = DataConfig(source=Source.local, dir=str(tmp_path))
    first = load_data(task_of("rte"), data)
    assert load_data(task_of("rte"), replace(data)) is first
    assert load_data(task_of("rte"), replace(data, limit=1)) is not first
    (folder / "train.tsv").write_text(head + row.format(0, "a") + row.format(1, "c"))
    changed = load_data(task_of("rte"), data)
    assert changed.splits["train"]["sentence1"][:] == ["a", "c"]
    assert changed.fingerprint != first.fingerprint
    (folder / "train.tsv").unlink()
    with pytest.raises(UserError, match=r"train.tsv"):
        load_data(task_of("rte"), data)


def test_a_file_of_the_same_size_and_time_is_read_again(
    task_of: Callable[[str], TaskConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "glue" / "RTE"
    folder.mkdir(parents=True)
    data = DataConfig(source=Source.local, dir=str(tmp_path))
    found = []
    for text in ("a", "b"):
        for name in ("train.tsv", "dev.tsv"):
            content = f"index\tsentence1\tsentence2\tlabel\n0\t{text}\tc\tentailment\n"
            (folder / name).write_text(content)
            os.utime(folder / name, ns=(10**18, 10**18))
        found.append(load_data(task_of("rte"), data))
    assert [data.splits["train"]["sentence1"][:] for data in found] == [["a"], ["b"]]
    assert found[0].fingerprint != found[1].fingerprint


def rows(**columns: list[Any]) -> Dataset:
    return Dataset.from_dict(columns)


def test_the_fingerprint_follows_rows_order_columns_and_splits() -> None:
    base = {"train": rows(a=["x", "y"], label=[0, 1])}
    different = [
        {"train": rows(a=["y", "x"], label=[1, 0])},
        {"train": rows(a=["x", "y"], label=[0, 0])},
        {"train": rows(b=["x", "y"], label=[0, 1])},
        {"test": base["train"]},
        {**base, "test": base["train"]},
        {"train": rows(a=["x", "y"], label=[0.0, 1.0])},
        {"train": rows(a=["xy", ""], label=[0, 1])},
        {"train": rows(a=["x"], label=[0])},
    ]
    assert len({fingerprint(splits) for splits in [base, *different]}) == len(different) + 1
    assert fingerprint({"train": rows(label=[0, 1], a=["x", "y"])}) == fingerprint(base)
    assert fingerprint({"train": base["train"].select([0, 1])}) == fingerprint(base)


def test_the_fingerprint_is_the_same_in_every_version() -> None:
    splits = {"train": rows(text=["é\u2028", 'n/a "'], label=[0.1, 5.0])}
    assert fingerprint(splits) == "89f01729723f096c68b19f6a19ae36f5be099c41a285a95c7d9dfcf73c6ca70a"


CLASSES = ClassificationTask(name="any", labels=["no", "yes"], texts=["a"])
SCORES = RegressionTask(name="any", texts=["a"])
TAGS = TaggingTask(name="any", entities=["A"])
TEXTS = GenerationTask(name="any")
RECORD = {"fields": [[["k", "v"]]], "references": [["r"]], "category": [""], "text": ["k[v]"]}


@pytest.mark.parametrize(
    ("task", "columns", "word"),
    [
        (CLASSES, {"a": ["x"]}, "the columns are a, the task needs a, label"),
        (CLASSES, {"a": ["x"], "b": ["y"], "label": [0]}, "the columns are a, b, label"),
        (CLASSES, {"a": ["x"], "label": [0, 1]}, "different length"),
        (CLASSES, {"a": [], "label": []}, "no examples"),
        (CLASSES, {"a": ["x", 3], "label": [0, 0]}, "row 1: 3 is not a text"),
        (CLASSES, {"a": ["x"], "label": [2]}, "label 2 is not an index into no, yes"),
        (CLASSES, {"a": ["x"], "label": ["yes"]}, "label 'yes'"),
        (SCORES, {"a": ["x"], "label": [5.5]}, "label 5.5 is not a number from 0 to 5"),
        (SCORES, {"a": ["x"], "label": [float("nan")]}, "label nan"),
        (SCORES, {"a": ["x"], "label": [None]}, "label None"),
        (TAGS, {"tokens": [["x"]], "tags": [[0, 0]]}, "1 tokens have 2 tags"),
        (TAGS, {"tokens": [[]], "tags": [[]]}, "0 tokens"),
        (TAGS, {"tokens": [["x"]], "tags": [[3]]}, "tag 3 is not an index into O, B-A, I-A"),
        (TEXTS, {**RECORD, "references": [[]]}, "0 references"),
        (TEXTS, {**RECORD, "fields": [[]]}, "0 fields"),
        (TEXTS, {**RECORD, "references": [[None]]}, "None is not a text"),
    ],
)
def test_the_schema_is_held(
    task: TaskConfig, columns: dict[str, list[Any]], word: str, refused: Callable[..., UserError]
) -> None:
    refused(lambda: check_schema(task, Loaded({"train": columns}, "somewhere")), "somewhere, train", word)


def test_types_are_those_of_the_schema(task_of: Callable[[str], TaskConfig]) -> None:
    first = load_data(task_of("stsb"), GENERATED).splits["train"][0]
    assert [type(value) for value in first.values()] == [str, str, float]
    first = load_data(task_of("rte"), GENERATED).splits["train"][0]
    assert [type(value) for value in first.values()] == [str, str, int]
