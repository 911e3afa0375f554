"""Cells of JSON files against Python's own json: nothing that is a text becomes anything else."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from autolora_bench.errors import UserError
from autolora_bench.tables.profile import Content, profile
from autolora_bench.tables.read import opened

TEXTS = [
    "2020-01-01",
    "2020-01-01T10:00:00",
    '"Great film!"',
    "1.10",
    "007",
    "null",
    "true",
    "[1]",
    '{"a": 1}',
    " a ",
    "",
]


def cells(tmp_path: Path, *values: Any, name: str = "a.jsonl") -> list[Any]:
    """What is read of a column with these cells."""
    path = tmp_path / name
    rows = [json.dumps({"cell": value}) for value in values]
    path.write_text("\n".join(rows) if name == "a.jsonl" else f"[{','.join(rows)}]", encoding="utf-8")
    with opened([path]) as dataset:
        return list(dataset["cell"])


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("numbers", [[], [1984], [2.5, True]])
def test_texts_stay_as_they_stand_whatever_they_look_like(
    name: str, numbers: list[Any], tmp_path: Path
) -> None:
    found = cells(tmp_path, *numbers, *TEXTS, name=name)
    assert found[len(numbers) :] == TEXTS
    assert found[: len(numbers)] == [json.dumps(number) for number in numbers]


@pytest.mark.parametrize(
    "values", [[1, 2], [1.5, -2.25], [True, False], [["a", "b"], []], [[1, 2], [3]], [[], []], [None, 3]]
)
def test_columns_of_one_type_keep_it(values: list[Any], tmp_path: Path) -> None:
    assert cells(tmp_path, *values) == values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([2**70, 1], [str(2**70), "1"]),
        ([1.0, "x"], ["1", "x"]),
        ([["a", 1]], [["a", "1"]]),
        ([[1, 2.5], [3]], [[1.0, 2.5], [3.0]]),
        ([2**60, 1], [2**60, 1]),
        ([2**60, 1.5], [str(2**60), "1.5"]),
        ([[2**60, 1.5]], [[str(2**60), "1.5"]]),
        (["a", math.nan], ["a", None]),
        ([1, 2.5, math.inf], [1.0, 2.5, math.inf]),
        ([["a"], [None]], [["a"], [None]]),
    ],
)
def test_columns_of_several_types_have_one_that_holds_all(
    values: list[Any], expected: list[Any], tmp_path: Path
) -> None:
    assert cells(tmp_path, *values) == expected


def test_columns_in_many_batches_and_rows_without_a_name(tmp_path: Path) -> None:
    one, two = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    one.write_text(
        "\n".join(json.dumps({"n": n, "text": str(n)}) for n in range(12_000)), encoding="utf-8-sig"
    )
    two.write_text('{"n": 1, "late": "x"}\r\n\r\n{"late": 2, "text": "y"}\r\n', encoding="utf-8")
    with opened([one, two]) as dataset:
        assert dataset.column_names == ["n", "text", "late"]
        assert dataset["n"][:] == [*range(12_000), 1, None]
        assert dataset["text"][:] == [*map(str, range(12_000)), None, "y"]
        assert dataset["late"][-3:] == [None, "x", "2"]


def test_objects_are_neither_texts_nor_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": {"b": 1}, "c": [[1]]}\n{"a": "text", "c": 2}\n', encoding="utf-8")
    assert [column.content for column in profile([path])] == [Content.other] * 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1}\n{"a": \n', "line 2: Expecting value"),
        ('{"a": 1, "a": 2}\n', "line 1: it names 'a' twice"),
        ("[1, 2]\n", "row 1 is no object"),
        ('{"a": 1}\n7\n', "line 2 is no object"),
        ('[{"a": 1},\n{"a": }]', "line 2: Expecting value"),
        ('{"a": "\\ud800"}', "half of a character"),
        ('{"a\\ud800": 1}', "half of a character"),
        ("\n", "there are no rows"),
        ("[]", "there are no rows"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_no_table_is_named_with_its_place(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught, opened([path]):
        pass
    assert str(path) in caught.value.what
