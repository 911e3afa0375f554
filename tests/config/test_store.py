"""What is read once for many compositions gives each of them what Hydra alone would give."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf

from autolora_bench.commands.through_hydra import ask
from autolora_bench.config.compose import compose_config, composer, search_path, to_objects
from autolora_bench.config.store import reading_once, register_schemas
from autolora_bench.config.train import TrainConfig
from autolora_bench.paths import conf_dir

ELSEWHERE = """
import json, pickle, sys
from hydra.core.singleton import Singleton
from hydra.types import RunMode
from omegaconf import OmegaConf

loader, state = pickle.load(open(sys.argv[1], "rb"))
Singleton.set_state(state)
config = loader.load_configuration("config", ["method=autolora"], RunMode.RUN)
print(json.dumps(OmegaConf.to_container(config.method, resolve=False), default=str))
"""
WORDS = (
    [],
    ["task=cola", "method=autolora_topk", "model=minilm", "recipe=minilm/cola", "cell=minilm/autolora_topk"],
    ["suite=fair", "task=mrpc", "method=head_only", "seed=3"],
    ["task=planted", "model=small", "method=autolora_budget", "task.mode=size", "~recipe"],
)


class LongerConfig(TrainConfig):
    """Another schema under the same name."""


def settings(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """conf/ elsewhere: of what is composed from there, the tests remember nothing."""
    return Path(shutil.copytree(conf_dir(), tmp_path_factory.mktemp("copied") / "conf"))


def alone(words: list[str], folder: Path) -> Any:
    """Hydra's own composition, with a repository of its own."""
    register_schemas()
    with initialize_config_dir(str(folder), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        loader.repository = ConfigRepository(loader.config_search_path)
        return settings(compose("config", overrides=words, return_hydra_config=True))


@pytest.mark.parametrize("words", WORDS, ids=[" ".join(words) or "nothing" for words in WORDS])
def test_a_composition_is_hydras_own(words: list[str], copied: Path) -> None:
    expected = alone(words, copied)
    with composer():
        found = settings(compose_config(words))
    assert [source["path"] for source in expected["hydra"]["runtime"].pop("config_sources")].count(
        str(copied)
    ) == 1
    assert str(conf_dir()) in [source["path"] for source in found["hydra"]["runtime"].pop("config_sources")]
    assert list(found) == list(expected)
    assert found == expected


def test_what_is_done_to_one_composition_does_not_show_in_the_next(copied: Path) -> None:
    with reading_once(), initialize_config_dir(str(copied), version_base="1.3"):
        first = compose("config", overrides=["method=autolora"])
        expected = settings(first)
        OmegaConf.set_struct(first, False)
        first.method.search.epochs, first.train.trackers, first.task.labels = 77, ["x"], ["changed"]
        del first["model"]
        assert settings(compose("config", overrides=["method=autolora"])) == expected


def test_making_objects_leaves_the_configuration_as_it_was() -> None:
    with composer():
        config = compose_config(["task=cola", "method=lora"])
        before = settings(config)
        to_objects(config)
        assert settings(config) == before
        assert list(settings(config)) == list(before)
        assert "hydra" in config


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "train" / "mine.yaml"
    file.parent.mkdir()
    found = []
    for epochs in (2, 31):
        file.write_text(f"defaults:\n  - default\n  - _self_\nepochs: {epochs}\n", encoding="utf-8")
        with composer():
            found.append(compose_config([search_path(tmp_path), "train=mine"]).train.epochs)
    assert found == [2, 31]


def test_a_schema_that_another_takes_the_place_of_is_looked_up_again() -> None:
    register_schemas()
    schemas = ConfigStore.instance().repo["schema"]
    kept = schemas["train.yaml"]
    kinds = []
    try:
        for kind in (TrainConfig, LongerConfig):
            ConfigStore.instance().store(group="schema", name="train", node=kind)
            with composer():
                loaded = GlobalHydra.instance().config_loader().repository.load_config("schema/train")
                kinds.append(OmegaConf.get_type(loaded.config))
    finally:
        schemas["train.yaml"] = kept
    assert kinds == [TrainConfig, LongerConfig]


def test_a_loader_that_goes_to_another_process_composes_there(tmp_path: Path) -> None:
    """Where Hydra has not looked for its sources yet."""
    with composer():
        expected = settings(compose_config(["method=autolora"]).method)
        sent = cloudpickle.dumps((GlobalHydra.instance().config_loader(), Singleton.get_state()))
    (tmp_path / "sent").write_bytes(sent)
    found = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "sent")], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == json.loads(json.dumps(expected, default=str))


def test_a_launcher_in_this_process_may_import_hydras_plugins_anew() -> None:
    """As joblib's does before every job: what was read before is of classes that are no longer those of Hydra."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    found: list[str] = []
    words = [
        "-m",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=1",
        "method=lora,autolora",
        "data=generated",
    ]

    def job(config: DictConfig) -> None:
        found.append(config.method.name)
        found.append(compose_config([f"method={config.method.name}"]).method.name)

    ask(words, job)
    assert found == ["lora", "lora", "autolora", "autolora"]
