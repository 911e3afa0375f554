"""A composition in parts is Hydra's own, down to the type and the flags of every node."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import Node, open_dict

from autolora_bench.config import parts
from autolora_bench.config.choices import GROUPS, OPTIONAL_GROUPS, choices
from autolora_bench.config.compose import compose_config, composer, search_path, to_objects
from autolora_bench.config.experiment import config_id
from autolora_bench.config.parts import PartComposer
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import words_of_first

SUITES = [name for name in choices("suite", [conf_dir()]) if name != "tune"]
"""The runs of that one are chosen as it goes."""


def state(node: Node) -> tuple[Any, ...]:
    """All that OmegaConf knows of a node but what resolvers, such as the clock, have answered."""
    known = {name: str(value) for name, value in vars(node._metadata).items() if name != "resolver_cache"}
    inner = node.__dict__.get("_content", node.__dict__.get("_val"))
    if isinstance(inner, dict):
        inner = {name: state(one) for name, one in inner.items()}
    elif isinstance(inner, list):
        inner = [state(one) for one in inner]
    return type(node).__name__, known, inner


def compare(compose: PartComposer, words: Sequence[str]) -> None:
    """The same configuration, with the same parents, and the same objects and identity, as Hydra makes."""
    found, hydra = compose(words)
    expected = compose_config([*compose.extra, *words])
    assert hydra.runtime.config_sources == expected.hydra.runtime.config_sources
    assert hydra.searchpath == expected.hydra.searchpath
    own = expected.hydra
    with open_dict(expected):
        del expected["hydra"]
    assert state(found) == state(expected)
    assert all(found._get_node(name)._get_parent() is found for name in found)
    one, other = to_objects(found, hydra, words), to_objects(expected, own, words)
    assert one == other
    assert config_id(one) == config_id(other)


def jobs(suite: str) -> list[list[str]]:
    """The files that a suite's jobs choose; use inside `composer()`."""
    params = compose_config(words_of_first(Request((f"suite={suite}",)))).hydra.sweeper.params
    swept = [f"{name}={values}" for name, values in params.items() if name in (*GROUPS, *OPTIONAL_GROUPS)]
    parsed = OverridesParser.create().parse_overrides([*swept, f"suite={suite}"])
    return [list(job) for job in BasicSweeper.split_arguments(parsed, None)[0]]


@pytest.mark.sample(keep=("methods", "smollm2_text"))
@pytest.mark.parametrize("suite", ["methods", "peft_all", "arena", "fair", "smollm2_text"])
def test_three_jobs_of_a_suite(suite: str) -> None:
    with composer():
        found = jobs(suite)
        compose = PartComposer([])
        for job in (found[0], found[len(found) // 2], found[-1]):
            compare(compose, job)


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_every_job_of_every_suite(suite: str) -> None:
    with composer():
        compose = PartComposer([])
        for job in jobs(suite):
            compare(compose, job)


def own_folder(tmp_path: Path, **files: str) -> Path:
    """A folder of recipes."""
    for name, text in files.items():
        file = tmp_path / "recipe" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# @package _global_\n{text}")
    return tmp_path


OWN = {
    "plain": "train: {epochs: 3}\nmethod: {rank: 5}\nresults: here",
    "names": "train: {epochs: 7}\nmethod: {rank: '${train.batch_size}'}",
    "of_another": "train: {batch_size: '${task.max_length}'}\nmethod: {rank: '${train.batch_size}'}",
    "relative": "method: {alpha: '${.rank}', rank: 4}",
    "of_the_rest": "train: {epochs: '${seed}'}\nseed: 4",
    "a_whole_part": "method: {learning_rate: '${train.head_learning_rate}'}\ntrain: {head_learning_rate: 0.5}",
    "hydras": "hydra: {sweep: {subdir: there}}\ntrain: {epochs: 2}",
    "empty": "",
}
CHOICES = [[f"recipe={name}", "task=rte", "method=lora"] for name in OWN]


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_what_files_name_of_each_other(every: int, tmp_path: Path) -> None:
    """Each, and some or all of them again, when others were composed before."""
    with composer():
        compose = PartComposer([search_path(own_folder(tmp_path, **OWN))])
        for words in [*CHOICES, *CHOICES[::-every]]:
            compare(compose, words)


@pytest.mark.parametrize(
    "words",
    [
        ["~recipe", "task=rte"],
        ["task=rte", "+method.variant.options.lora_bias=true"],
        ["task=rte", "hydra.verbose=true"],
        ["task=rte", "hydra.mode=RUN", "model=small"],
        ["task=xnli", "method=head_only"],
    ],
)
def test_words_that_do_more_than_to_choose_files(words: list[str]) -> None:
    with composer():
        compose = PartComposer([])
        compare(compose, ["task=rte"])
        compare(compose, words)


def test_most_jobs_are_merged_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    with composer():
        compose, calls = PartComposer([]), []
        inner = parts.compose_config
        monkeypatch.setattr(parts, "compose_config", lambda words: calls.append(words) or inner(words))
        for method in ("lora", "autolora", "adalora", "sora"):
            compose(["task=rte", f"method={method}"])
    assert len(calls) == 1


def test_a_wrong_file_is_said_as_for_a_run_alone(tmp_path: Path) -> None:
    folder = own_folder(tmp_path, plain="", unknown="traim: {epochs: 3}", typed="train: {epochs: many}")
    said = []
    for name in ("unknown", "typed"):
        words = [f"recipe={name}", "task=rte"]
        with composer():
            compose = PartComposer([search_path(folder)])
            compose(["recipe=plain", "task=rte"])
            with pytest.raises(UserError) as in_parts:
                compose(words)
            with pytest.raises(UserError) as alone:
                compose_config([search_path(folder), *words])
        assert in_parts.value == alone.value or str(in_parts.value) == str(alone.value)
        said.append(str(in_parts.value))
    assert "traim" in said[0]
    assert "train.epochs" in said[1]
