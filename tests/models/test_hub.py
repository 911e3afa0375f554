"""Models of the hub: the cache when it is whole, else one question and one download."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.numpy import load_file, save_file

from autolora_bench.config.model import ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models import hub
from autolora_bench.models.hub import available, cached
from autolora_bench.models.load import HeadKind, HeadSpec, load_backbone
from autolora_bench.models.locate import Location, locate
from autolora_bench.tables import download

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was asked of the hub's client; it has the folder `snapshots/COMMIT` where that is there."""
    asked: list[dict[str, Any]] = []

    def snapshot(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        folder = tmp_path / "snapshots" / COMMIT
        if options["local_files_only"] and not folder.is_dir():
            raise LocalEntryNotFoundError("not in the cache")
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    monkeypatch.setattr(download, "_answers", {})
    return asked


def filled(tmp_path: Path, model: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "snapshots" / COMMIT))


def test_a_cached_model_asks_nobody(
    snapshots: list[dict[str, Any]], tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "get_session", lambda: pytest.fail("the hub was asked"))
    filled(tmp_path, tiny_encoder)
    config = ModelConfig("any", checkpoint="org/name", revision="v1", targets=["query"])
    found = load_backbone(config, HeadSpec(HeadKind.sequence, ("no", "yes")))
    assert found.source["commit"] == COMMIT
    assert found.source["name"] == "org/name"
    assert found.source["revision"] == "v1"
    assert all(asked["local_files_only"] for asked in snapshots)
    assert {asked["name"] for asked in snapshots} == {"org/name"}


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_cache_that_lacks_a_file_is_not_whole(
    lacking: str, snapshots: list[dict[str, Any]], tmp_path: Path, tiny_encoder: Path
) -> None:
    folder = filled(tmp_path, tiny_encoder)
    location = Location("org/name", "hub", "org/name")
    assert cached(location) is not None
    for path in folder.glob("vocab*"):
        path.unlink()
    (folder / lacking).unlink()
    assert cached(location) is None


def test_weights_in_several_files_are_whole_when_all_are_there(
    snapshots: list[dict[str, Any]], tmp_path: Path, tiny_encoder: Path
) -> None:
    folder = filled(tmp_path, tiny_encoder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {name: f"{place % 2}.safetensors" for place, name in enumerate(tensors)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    save_file(tensors, folder / "0.safetensors")
    location = Location("org/name", "hub", "org/name")
    assert cached(location) is None
    save_file(tensors, folder / "1.safetensors")
    assert cached(location) is not None


def test_what_is_not_cached_is_downloaded_once_if_the_hub_answers(
    snapshots: list[dict[str, Any]], tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "hub_problem", lambda: "")
    location = locate(ModelConfig("any", checkpoint="org/name"))
    assert available(location).source == str(tmp_path / "snapshots" / COMMIT)
    assert [asked["local_files_only"] for asked in snapshots] == [True, True, False]


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        (ModelConfig("any", checkpoint="org/name"), "go online once, or say model.checkpoint=FOLDER"),
        (ModelConfig("x", hub="org/name"), "go online once, or say model.path=FOLDER"),
    ],
)
def test_advice_without_a_connection(
    model: ModelConfig, advice: str, snapshots: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        available(locate(model))
    assert error.value.what == (
        "the model org/name is not on this machine, and HF_HUB_OFFLINE forbids to ask the hub"
    )
    assert error.value.mend.startswith(advice)


def test_a_cache_without_a_tokenizers_settings_is_completed_where_the_hub_answers(
    snapshots: list[dict[str, Any]], tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = filled(tmp_path, tiny_encoder)
    (folder / "tokenizer_config.json").unlink()
    location = Location("org/name", "hub", "org/name")
    for problem, asked in (("it is offline", True), ("", False), ("", True)):  # once a process
        monkeypatch.setattr(hub, "hub_problem", lambda problem=problem: problem)
        snapshots.clear()
        assert available(location).source == str(folder)
        assert snapshots[-1]["local_files_only"] is asked
        assert asked or snapshots[-1]["revision"] == COMMIT
        if problem:
            hub._completed.cache_clear()


def test_a_hub_that_refuses_is_no_reason_to_leave_a_cached_model(
    snapshots: list[dict[str, Any]], tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = filled(tmp_path, tiny_encoder)
    (folder / "tokenizer_config.json").unlink()

    def snapshot(name: str, **options: Any) -> str:
        if options["local_files_only"]:
            return str(folder)
        raise OSError("429")

    hub._completed.cache_clear()
    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    monkeypatch.setattr(hub, "hub_problem", lambda: "")
    assert available(Location("org/name", "hub", "org/name")).source == str(folder)
