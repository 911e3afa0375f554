"""What makes two runs the same run: numbers yes, places and labels no."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.data import ADDED, LABEL
from autolora_bench.config.experiment import ExperimentConfig, config_id, identity
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


RECORDED = {
    "full": "abeed39d",
    "lora": "ef7c0c41",
    "adalora": "e5e953e0",
    "adapter": "216361a3",
    "bitfit": "f6a940c5",
    "lora_uniform": "8caa8be6",
    "lora_random_ranks": "dce1f237",
    "autolora": "dec3b126",
    "autolora_budget": "14e51c03",
    "autolora_released": "59d4d983",
}
"""Identities under which runs of `suite=minilm_glue` have been recorded: records must be found again."""


@pytest.mark.parametrize("method", RECORDED)
def test_later_settings_leave_the_identity_of_recorded_runs(method: str) -> None:
    base = ["suite=minilm_glue", "task=stsb", f"method={method}", "data=local", "data.dir=/somewhere"]
    assert config_id(experiment(base=base)) == RECORDED[method]


@dataclass
class Inner:
    old: int = 1
    new: bool = field(default=False, metadata=ADDED)


@dataclass
class Outer:
    old: int = 1
    title: str = field(default="", metadata=LABEL)
    new: float = field(default=2.0, metadata=ADDED)
    listed: list[int] = field(default_factory=list, metadata=ADDED)
    inner: Inner = field(default_factory=Inner, metadata=ADDED)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Outer(), {"old": 1}),
        (Outer(new=2, listed=[], inner=Inner(old=1)), {"old": 1}),
        (Outer(new=3.0), {"old": 1, "new": 3.0}),
        (Outer(listed=[0]), {"old": 1, "listed": [0]}),
        (Outer(inner=Inner(new=True)), {"old": 1, "inner": {"old": 1, "new": True}}),
        (Outer(inner=Inner(old=0)), {"old": 1, "inner": {"old": 0}}),
    ],
)
def test_settings_added_later_count_only_where_they_are_set(node: Outer, expected: dict[str, object]) -> None:
    assert identity(node) == expected
