"""Which files a task reads, what is said where they are not there, and their hash."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora_bench.config.data import DataConfig, Source
from autolora_bench.config.task import ClassificationTask, GeneratedSource, HubSource, Layout, LocalSource
from autolora_bench.data.files import file_fingerprint, local_files, split_names
from autolora_bench.data.load import load_data
from autolora_bench.errors import UserError

LOCAL = LocalSource(layout=Layout.glue_tsv, splits={"train": "few/train.tsv", "validation": "few/dev.tsv"})
TASK = ClassificationTask(name="few", labels=["no", "yes"], local=LOCAL)


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    (tmp_path / "few").mkdir()
    for name in ("train", "dev"):
        (tmp_path / "few" / f"{name}.tsv").write_text(f"sentence1\tsentence2\tlabel\n{name}\tb\tyes\n")
    return DataConfig(source=Source.local, dir=str(tmp_path))


def test_split_names() -> None:
    task = replace(TASK, evaluation=["validation", "validation_mismatched"], test=["test", "validation"])
    assert split_names(task) == ["train", "validation", "validation_mismatched", "test"]


def test_files_of_a_task(data: DataConfig, tmp_path: Path) -> None:
    assert local_files(TASK, data) == {
        "train": [tmp_path / "few" / "train.tsv"],
        "validation": [tmp_path / "few" / "dev.tsv"],
    }


def test_the_home_folder_is_known(data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert file_fingerprint(TASK, replace(data, dir="~")) == file_fingerprint(TASK, data)


def test_the_hash_follows_content_and_name_but_not_the_place(data: DataConfig, tmp_path: Path) -> None:
    before = file_fingerprint(TASK, data)
    (tmp_path / "other").mkdir()
    (tmp_path / "few").rename(tmp_path / "other" / "few")
    moved = replace(data, dir=str(tmp_path / "other"))
    assert file_fingerprint(TASK, moved) == before
    (tmp_path / "other" / "few" / "unread.tsv").write_text("x")
    assert file_fingerprint(TASK, moved) == before
    with (tmp_path / "other" / "few" / "dev.tsv").open("a") as stream:
        stream.write("c\td\tno\n")
    assert file_fingerprint(TASK, moved) != before


def test_the_hash_of_what_is_not_local_follows_its_settings() -> None:
    hub = HubSource(path="a/b", revision="1", files={"train": ["x.parquet"]})
    task = replace(TASK, hub=hub, generated=GeneratedSource(generator="pairs"))
    sources = [
        (task, DataConfig(source=Source.hub)),
        (replace(task, hub=replace(hub, revision="2")), DataConfig(source=Source.hub)),
        (task, DataConfig(source=Source.generated)),
        (task, DataConfig(source=Source.generated, generator_seed=1)),
    ]
    assert len({file_fingerprint(*source) for source in sources}) == 4
    assert file_fingerprint(*sources[0]) == file_fingerprint(*sources[0])


def test_no_heavy_import() -> None:
    heavy = {"torch", "datasets", "pandas", "pyarrow", "numpy"}
    code = f"import sys, autolora_bench.data.files; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_things_are_named(
    data: DataConfig, tmp_path: Path, refused: Callable[..., UserError]
) -> None:
    def load(**changes: Any) -> Callable[[], object]:
        return lambda: load_data(replace(TASK, local=replace(LOCAL, **changes)), data)

    assert "data.dir=FOLDER" in refused(lambda: load_data(TASK, replace(data, dir=None)), "folder").mend
    refused(
        lambda: load_data(TASK, replace(data, dir=str(tmp_path / "no"))), "data.dir", str(tmp_path / "no")
    )
    error = refused(
        load(splits={"train": "few/train.tsv", "validation": "few/no.tsv"}), "few/no.tsv", "data.dir="
    )
    assert "data.dir" in error.mend
    refused(load(splits={"train": "few/train.tsv"}), "'validation'")
    (tmp_path / "none").mkdir()
    refused(load(splits={"train": "none", "validation": "few/dev.tsv"}), "none", ".tsv")
    error = refused(lambda: load_data(replace(TASK, local=None), data), "few", "local")
    assert error.mend == "add `local:` to the task's YAML"
    error = refused(lambda: load_data(TASK, DataConfig(source=Source.hub)), "few", "hub")
    assert error.mend == "use data=local"


def test_a_file_that_cannot_be_read(
    data: DataConfig, tmp_path: Path, refused: Callable[..., UserError]
) -> None:
    (tmp_path / "few" / "dev.tsv").unlink()
    (tmp_path / "few" / "dev.tsv").mkdir()
    (tmp_path / "few" / "dev.tsv" / "folder.tsv").mkdir()
    refused(lambda: load_data(TASK, data), "folder.tsv", "cannot be read")


def test_a_layout_of_another_kind(data: DataConfig, refused: Callable[..., UserError]) -> None:
    local = replace(LOCAL, layout=Layout.iob2)
    refused(lambda: load_data(replace(TASK, local=local), data), "few", "iob2")
