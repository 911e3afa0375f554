"""What makes two runs the same run: numbers yes, places and labels no."""

from collections.abc import Sequence

import pytest

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig, config_id
from autolora_bench.paths import run_folder

BASE = ["task=rte", "method=autolora", "data=local", "data.dir=/somewhere"]


def experiment(*overrides: str, base: Sequence[str] = BASE) -> ExperimentConfig:
    with composer():
        return to_experiment(compose_config([*base, *overrides]))


@pytest.mark.parametrize(
    "override",
    [
        "data.dir=/elsewhere",
        "results=other",
        "device=cpu",
        "seed=3",
        "rerun=all",
        "train.threads=1",
        "train.log_steps=7",
        "train.trackers=[tensorboard]",
        "model.path=/weights",
        "model.note=hello",
        "method.title=Other",
        "task.title=Other",
        "task.hub.path=other/place",
    ],
)
def test_places_and_labels_do_not_change_the_identity(override: str) -> None:
    assert config_id(experiment(override)) == config_id(experiment())


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=2",
        "train.batch_size=8",
        "method.learning_rate=1e-3",
        "method.search.estimator=first_order",
        "method.search.interval=4",
        "method.scaling=constant",
        "task.max_length=64",
        "data.limit=100",
        "data=generated",
        "model=mpnet_base",
        "method=lora",
        "task.local.splits.train=other.tsv",
    ],
)
def test_what_changes_numbers_changes_the_identity(override: str) -> None:
    assert config_id(experiment(override)) != config_id(experiment())


def test_the_folder_says_what_a_run_is() -> None:
    found = experiment("seed=2", "results=out")
    assert str(run_folder(found)) == f"out/rte/minilm/autolora-{config_id(found)}/seed2"


def test_the_search_follows_the_training_length_unless_told() -> None:
    assert experiment("train.epochs=3").method.search.epochs == 3  # type: ignore[attr-defined]
    assert experiment("train.epochs=3", "method.search.epochs=1").method.search.epochs == 1  # type: ignore[attr-defined]
