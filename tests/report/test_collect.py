"""Records are found, merged by identity, and nothing is dropped in silence."""

import copy
import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autolora_bench.errors import UserError
from autolora_bench.record import RunRecord, Status, write_record
from autolora_bench.report.collect import collect
from tests.report.conftest import report, write_report

Make = Callable[..., RunRecord]


def store(root: Path, record: RunRecord) -> Path:
    folder = root / record.task / record.model / f"{record.method}-{record.config_id}" / f"seed{record.seed}"
    write_record(folder, record)
    return folder


def test_finds_every_record_and_its_folder(tmp_path: Path, make: Make) -> None:
    records = [make("rte", "lora", seed, 0.7) for seed in range(3)] + [make("cola", "full", 0, 0.5)]
    folders = {record.identity: store(tmp_path, record) for record in records}
    found = collect(tmp_path)
    assert {record.identity for record in found.records} == folders.keys()
    assert found.folders == folders
    assert not found.conflicts
    assert not found.unreadable


def test_equal_records_of_two_machines_count_once(tmp_path: Path, make: Make) -> None:
    store(tmp_path / "a", make("rte", "lora", 0, 0.7))
    store(tmp_path / "b", make("rte", "lora", 0, 0.7))
    store(tmp_path / "b", make("rte", "lora", 1, 0.72))
    found = collect(tmp_path / "a", tmp_path / "b")
    assert [record.seed for record in found.records] == [0, 1]
    assert found.duplicates == 1
    assert not found.conflicts


def test_different_scores_are_a_named_conflict_and_the_first_folder_stays(tmp_path: Path, make: Make) -> None:
    first = store(tmp_path / "a", make("rte", "lora", 0, 0.7))
    second = store(tmp_path / "b", make("rte", "lora", 0, 0.6))
    found = collect(tmp_path / "a", tmp_path / "b")
    assert found.records[0].best["validation"].scores == {"accuracy": 0.7}
    (conflict,) = found.conflicts
    assert (conflict.kept, conflict.other) == (first, second)
    assert "best validation accuracy: 0.7 against 0.6" in str(conflict)


def test_a_completed_record_goes_before_a_failed_one(tmp_path: Path, make: Make) -> None:
    store(tmp_path / "a", make("rte", "lora", 0, status=Status.failed))
    store(tmp_path / "b", make("rte", "lora", 0, 0.6))
    for order in (("a", "b"), ("b", "a")):
        found = collect(tmp_path / order[0], tmp_path / order[1])
        assert [record.status for record in found.records] == [Status.completed]
        assert not found.conflicts


def test_the_same_folder_given_twice_is_no_duplicate(tmp_path: Path, make: Make) -> None:
    store(tmp_path, make("rte", "lora", 0, 0.7))
    assert collect(tmp_path, tmp_path).duplicates == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("{", "Invalid JSON"),
        ("[1, 2]", "record is not a mapping"),
        ('{"version": 99}', "version 99"),
        ("\x00\xff", "Invalid JSON: expected value at line 1 column 1"),
        ({"seed": "zero"}, "seed is not a whole number"),
        ({"task": 3}, "task is not text"),
        ({"config": []}, "config is not a mapping"),
        ({"surprise": 1}, "surprise"),
        ({"best": {"validation": {"phase": "finetune"}}}, "split"),
        (
            {"parameters": {"total": "many", "trainable": 1, "head": 1}},
            "parameters.total is not a whole number",
        ),
        (
            {"ranks": [{"module": "m", "block": 0, "projection": "query", "rank": 1.5}]},
            "ranks.0.rank is not a whole number",
        ),
    ],
)
def test_garbage_is_named_with_its_path(
    tmp_path: Path, make: Make, change: str | dict[str, object], named: str
) -> None:
    store(tmp_path, make("rte", "lora", 0, 0.7))
    path = store(tmp_path, make("rte", "lora", 1, 0.7)) / "run.json"
    if isinstance(change, dict):
        change = json.dumps({**json.loads(path.read_text()), **change})
    path.write_text(change, encoding="latin-1")
    found = collect(tmp_path)
    assert [record.seed for record in found.records] == [0]
    (unreadable,) = found.unreadable
    assert unreadable.path == path
    assert named in str(unreadable)


@pytest.mark.parametrize("value", ['"high"', "NaN", "Infinity", "true"])
def test_a_score_that_is_no_number_is_named(tmp_path: Path, make: Make, value: str) -> None:
    path = store(tmp_path, make("rte", "lora", 0, 0.75)) / "run.json"
    path.write_text(path.read_text().replace("0.75", value))
    (unreadable,) = collect(tmp_path).unreadable
    assert "score accuracy" in unreadable.reason


@pytest.mark.parametrize(
    ("task", "metric", "value", "spans"),
    [
        ("rte", "accuracy", 80.0, "from 0 to 1"),
        ("rte", "accuracy", -3.0, "from 0 to 1"),
        ("rte", "accuracy", 1e308, "from 0 to 1"),
        ("cola", "matthews_correlation", -1.5, "from -1 to 1"),
        ("webnlg", "ter", -0.1, "0 or more"),
        ("webnlg", "bleu/unseen", 40.0, "from 0 to 1"),
        ("rte", "one_of_theirs", 1e308, "too large to be averaged"),
    ],
)
@pytest.mark.parametrize("part", ["best", "last", "test", "history"])
def test_a_score_that_its_metric_cannot_have_is_named_and_not_averaged(
    tmp_path: Path, make: Make, part: str, task: str, metric: str, value: float, spans: str
) -> None:
    good = [make(task, method, seed, 0.5) for method in ("lora", "full") for seed in range(3)]
    bad = copy.deepcopy(make(task, "lora", 3, 0.5))
    evaluation = copy.deepcopy(bad.history[0])
    evaluation.scores[metric] = value
    setattr(bad, part, [evaluation] if part == "history" else {"validation": evaluation})
    for record in good:
        store(tmp_path, record)
    path = store(tmp_path, bad) / "run.json"
    found = collect(tmp_path)
    assert {record.identity for record in found.records} == {record.identity for record in good}
    (unreadable,) = found.unreadable
    assert unreadable.path == path
    assert f"score {metric} of {part}" in unreadable.reason
    assert spans in unreadable.reason
    with pytest.raises(UserError, match=f"score {metric} of {part}"):
        report([*good, bad])


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("accuracy", 1.0000000000000002),
        ("matthews_correlation", -1.0),
        ("ter", 3.5),
        ("relative_error", 1e12),
        ("one_of_theirs", -80.0),
    ],
)
def test_a_score_that_its_metric_can_have_is_kept(
    tmp_path: Path, make: Make, metric: str, value: float
) -> None:
    for number, score in enumerate((value, value / 2, 0.25)):
        record = copy.deepcopy(make("rte", "lora", number, 0.5))
        record.headline, record.metrics = metric, {metric: metric not in ("ter", "relative_error")}
        for evaluation in (*record.best.values(), *record.last.values(), *record.history):
            evaluation.scores = {metric: score}
        store(tmp_path / "runs", record)
    found = collect(tmp_path / "runs")
    assert not found.unreadable
    write_report(tmp_path / "out", found)


def test_where_no_record_can_be_read_each_is_named(tmp_path: Path, make: Make) -> None:
    paths = [store(tmp_path / "runs", make("rte", "lora", seed, 0.7)) / "run.json" for seed in range(5)]
    for path in paths:
        path.write_text(path.read_text().replace('"accuracy": 0', '"accuracy": 80'))
    with pytest.raises(UserError) as caught:
        report(collect(tmp_path / "runs"))
    assert f"{paths[0]}: score accuracy" in caught.value.what
    assert "and 2 more" in caught.value.what
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "there").symlink_to(store(tmp_path / "disk", make("rte", "lora", 0, 0.7)).parent)
    with pytest.raises(UserError, match="there is a link"):
        report(collect(tmp_path / "links"))


def test_a_folder_with_a_records_name_is_named(tmp_path: Path, make: Make) -> None:
    store(tmp_path, make("rte", "lora", 0, 0.7))
    folder = store(tmp_path, make("rte", "lora", 1, 0.7))
    (folder / "run.json").unlink()
    (folder / "run.json").mkdir()
    (tmp_path / "run.json").mkdir()
    found = collect(tmp_path)
    assert [record.seed for record in found.records] == [0]
    assert {one.path for one in found.unreadable} == {tmp_path / "run.json", folder / "run.json"}
    assert all("directory" in one.reason for one in found.unreadable)
    assert f"UNREADABLE {folder / 'run.json'}" in report(found)


def test_an_absent_folder_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        collect(tmp_path / "absent")


def test_copies_inside_one_tree_are_merged_too(tmp_path: Path, make: Make) -> None:
    folder = store(tmp_path / "runs", make("rte", "lora", 0, 0.7))
    shutil.copytree(folder, tmp_path / "copy")
    assert collect(tmp_path).duplicates == 1


ODD = [
    None,
    [],
    {},
    "",
    "x\x1b[31m\ud800\n",
    1e308,
    -1,
    True,
    [1, [2]],
    {"a": {"b": [None]}},
    10**30,
    "9" * 3000,
]
"""What JSON can hold where something else is meant."""


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, one in items for found in [(*path, name), *nodes(one, (*path, name))]]


@pytest.mark.parametrize("every", [14, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", ["config", "data", "provenance", "locations", "error"])
def test_odd_values_in_a_readable_record_never_stop_a_report(
    make: Callable[..., RunRecord], part: str, every: int
) -> None:
    good = make("rte", "autolora", 0, 0.7, error={"type": "E", "message": "m", "mend": "", "traceback": ""})
    count = 0
    for number, path in list(enumerate(nodes(getattr(good, part))))[::every]:
        record = copy.deepcopy(good)
        node = getattr(record, part)
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = ODD[number % len(ODD)]
        for form in ("markdown", ("csv", "latex", "html")[number % 3]):
            text = report([record, make("rte", "lora", 0, 0.6)], format=form, figures=False)
            assert text.encode()
            assert "\x1b" not in text
            count += 1
    assert count or part == "locations"


def test_names_of_strangers_do_no_harm(make: Callable[..., RunRecord]) -> None:
    record = make("rte", "lora", 0, 0.7)
    record.method = "=1+1\x1b[2J"
    line = list(csv.reader(io.StringIO(report([record], format="csv"))))[1]
    assert line[1] == "'=1+1\N{REPLACEMENT CHARACTER}[2J"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"modules": ["a"], "alpha": [[1' + "0" * 400 + ']], "kept": [[1]]}']
)
@pytest.mark.sample(one_in=2)
def test_an_unreadable_selection_is_named(make: Callable[..., RunRecord], tmp_path: Path, text: str) -> None:
    write_record(tmp_path / "runs" / "a", make("rte", "autolora", 0, 0.7))
    (tmp_path / "runs" / "a" / "search").mkdir()
    (tmp_path / "runs" / "a" / "search" / "selection.json").write_text(text)
    write_report(tmp_path / "out", collect(tmp_path / "runs"))
    assert "UNREADABLE" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_record_given_twice_counts_once_and_one_that_differs_is_refused(make: Make) -> None:
    records = [make("rte", "lora", seed, score) for seed, score in enumerate((0.7, 0.8))]
    assert report([*records, *records]) == report(records)
    with pytest.raises(UserError, match=r"two records of .* seed 0 differ"):
        report([*records, make("rte", "lora", 0, 0.9)])


def test_links_to_other_results_are_told(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """They are not followed, and a method behind one would be missing from the table in silence."""
    for folder, method in ((tmp_path / "runs/rte/m/lora/seed0", "lora"), (tmp_path / "disk/seed0", "full")):
        write_record(folder, make("rte", method, 0, 0.7))
    (tmp_path / "runs/rte/m/full").symlink_to(tmp_path / "disk")
    (tmp_path / "runs/empty").symlink_to(tmp_path / "nothing")
    found = collect(tmp_path / "runs")
    assert [record.method for record in found.records] == ["lora"]
    assert found.links == [tmp_path / "runs/rte/m/full"]
    assert "NOT READ" in report(found)
