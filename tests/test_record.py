"""Records: whole or not at all, read back as written, refused when damaged."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from autolora_bench.errors import UserError
from autolora_bench.record import (
    Evaluation,
    LayerRank,
    Parameters,
    PhaseRecord,
    RunRecord,
    Status,
    find_records,
    read_record,
    write_atomically,
    write_record,
)


def a_record(**changes: object) -> RunRecord:
    evaluation = Evaluation(
        "finetune", "validation", 1.0, 10, {"accuracy": 0.5, "f1": None}, 20, 0.7, "f1: undefined"
    )
    record = RunRecord(
        task="rte",
        model="minilm",
        method="lora",
        config_id="0123abcd",
        seed=1,
        status=Status.completed,
        config={"task": {"name": "rte"}},
        command="autolora-bench task=rte",
        phases=[PhaseRecord("finetune", Status.completed, seconds=1.5, details={"a": [1]})],
        history=[evaluation],
        best={"validation": evaluation},
        parameters=Parameters(total=100, trainable=30, head=10),
        ranks=[LayerRank("layer.0.query", 0, "query", 4)],
    )
    return dataclasses.replace(record, **changes)


def test_read_gives_what_was_written(tmp_path: Path) -> None:
    record = a_record()
    write_record(tmp_path, record)
    assert read_record(tmp_path / "run.json") == record
    assert record.parameters is not None
    assert record.parameters.method == 20


def test_a_failed_write_leaves_the_old_record_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path, a_record())
    before = (tmp_path / "run.json").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write_record(tmp_path, a_record(seed=2))
    assert (tmp_path / "run.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"version": 1}', '{"version": 99}', '{"version": 1, "status": "odd"}'],
)
def test_damaged_records_are_refused_with_their_path(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"run\.json"):
        read_record(path)


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    values = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**values, "surprise": 1}))
    with pytest.raises(UserError, match="surprise"):
        read_record(tmp_path / "run.json")


def test_not_a_number_cannot_enter_a_record(tmp_path: Path) -> None:
    bad = Evaluation("finetune", "validation", 1.0, 1, {"accuracy": float("nan")}, 1)
    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path, a_record(history=[bad]))


def test_records_are_found_in_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b/x", "a/y", "a/x"):
        write_record(tmp_path / name, a_record())
    assert [str(p.parent.relative_to(tmp_path)) for p in find_records(tmp_path)] == ["a/x", "a/y", "b/x"]


def test_write_atomically_makes_the_folder(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "file", "text")
    assert (tmp_path / "new" / "file").read_text() == "text"


@pytest.mark.parametrize("content", ["naïve\n", b"\x89PNG\r\n"])
def test_a_file_is_written_whole_or_the_words_for_another_place_are_said(
    content: str | bytes, tmp_path: Path
) -> None:
    write_atomically(tmp_path / "new/file", content)
    assert (tmp_path / "new/file").read_bytes() == (content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as error:
        write_atomically(tmp_path / "new/file/below", content, "out=DIR")
    assert error.value.what.startswith(f"cannot write {tmp_path / 'new/file/below'}: ")
    assert error.value.mend.endswith("choose another folder with out=DIR")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
