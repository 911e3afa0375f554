"""What is read once for many compositions gives each of them what Hydra alone would give."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from autolora_bench.config.compose import compose_config, composer, search_path, to_objects
from autolora_bench.config.store import register_schemas
from autolora_bench.config.train import TrainConfig
from autolora_bench.paths import conf_dir

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


def test_what_is_done_to_one_composition_does_not_show_in_the_next() -> None:
    with composer():
        first = compose_config(["method=autolora"])
        expected = settings(first)
        OmegaConf.set_struct(first, False)
        first.method.search.epochs, first.train.trackers, first.task.labels = 77, ["x"], ["changed"]
        del first["model"]
        assert settings(compose_config(["method=autolora"])) == expected


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


def test_a_loader_that_goes_to_another_process_takes_nothing_along() -> None:
    with composer():
        expected = settings(compose_config(["method=autolora"]).method)
        sent = pickle.dumps(GlobalHydra.instance().config_loader())
    loader = pickle.loads(sent)
    assert type(loader.repository) is ConfigRepository
    config = loader.load_configuration("config", ["method=autolora"], RunMode.RUN)
    assert settings(config.method) == expected
