"""What makes two runs the same run: numbers yes, places and labels no."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import pytest

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.corrections import earlier_rules
from autolora_bench.config.experiment import (
    ExperimentConfig,
    config_id,
    experiment_identity,
    identity,
    run_folder,
)
from autolora_bench.config.identity import ADDED, LABEL, recorded_as, recorded_value
from autolora_bench.config.train import WAYS
from autolora_bench.errors import UserError
from autolora_bench.request import Request
from autolora_bench.sweeps.expansion import plan

RESULTS = Path(__file__).parents[2] / "results"
BASE = ["task=rte", "method=autolora", "data=local", "data.dir=/somewhere"]


def experiment(*overrides: str, base: Sequence[str] = BASE) -> ExperimentConfig:
    with composer():
        return to_experiment(compose_config([*base, *overrides]))


@pytest.fixture(scope="module")
def plain() -> str:
    """The identifier of what every test changes a setting of."""
    return config_id(experiment())


@pytest.mark.parametrize(
    "override",
    [
        "data.dir=/elsewhere",
        "results=other",
        "device=cpu",
        "push=me/${task.name}",
        "seed=3",
        "rerun=all",
        "train.threads=1",
        "train.log_steps=7",
        "train.trackers=[tensorboard]",
        "model.path=/weights",
        "model.note=hello",
        "model.architecture=other",
        "method.title=Other",
        "task.title=Other",
        "task.hub.path=other/place",
    ],
)
def test_places_and_labels_do_not_change_the_identity(override: str, plain: str) -> None:
    assert config_id(experiment(override)) == plain


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
def test_what_changes_numbers_changes_the_identity(override: str, plain: str) -> None:
    assert config_id(experiment(override)) != plain


def test_the_folder_says_what_a_run_is() -> None:
    found = experiment("seed=2", "results=out")
    assert str(run_folder(found)) == f"out/rte/minilm/autolora-{config_id(found)}/seed2"


def test_the_search_follows_the_training_length_unless_told() -> None:
    assert experiment("train.epochs=3").method.search.epochs == 3  # type: ignore[attr-defined]
    assert experiment("train.epochs=3", "method.search.epochs=1").method.search.epochs == 1  # type: ignore[attr-defined]


SEARCH = (
    "alpha batch_size betas budget clip components constraint diagnose_steps dropout epochs estimator initial"
    " initialisation_seed interval learning_rate max_steps mean_rank minimum_rank rule schedule selection_betas"
    " selection_learning_rate threshold train_share validation_batch_size warmup weight_decay"
)
TRAIN = (
    "accumulation batch_size clip epochs evaluation_batch_size group_by_length keep label_smoothing max_steps"
    " precision schedule warmup weight_decay"
)
RANKED = "allocation allocation_seed alpha cell components dropout minimum_rank rank ranks scaling total"
RECORDED = {
    "full": "",
    "lora": "alpha dropout rank",
    "adalora": "alpha dropout final_share initial_rank initial_share interval orthogonality sensitivity_beta"
    " target_rank uncertainty_beta",
    "adapter": "activation bottleneck drop initial_std layer_norms placement",
    "bitfit": "",
    "lora_uniform": RANKED,
    "lora_random_ranks": f"{RANKED} corrections",
    "autolora": "alpha dropout rank scaling search",
}
"""Settings that made the identity of recorded runs: more of them, and no record would be found again."""


@pytest.mark.sample(keep=("lora", "lora_random_ranks", "autolora", "adapter"))
@pytest.mark.parametrize("method", RECORDED)
def test_later_settings_leave_the_identity_of_recorded_runs(method: str) -> None:
    none = ["method.reference=null"] if method == "lora_random_ranks" else []
    words = [f"method={method}", *none, "train=reference"]
    found = experiment_identity(experiment(*words, base=["task=stsb", "data=generated"]))
    assert set(found["method"]) == {"name", "learning_rate", *RECORDED[method].split()}
    assert set(found["method"].get("search", SEARCH.split())) == set(SEARCH.split())
    assert set(found["train"]) == set(TRAIN.split())


AS_RECORDED = ["train.cpu_kernels=false", "train.padding_free=false"]
"""How runs were made before these two settings were auto."""


def test_auto_is_one_thing_and_another_than_what_records_were_made_with() -> None:
    """Whatever it comes to on a machine: as with device=auto, the record says what ran."""
    plain = experiment()
    assert (plain.train.cpu_kernels, plain.train.padding_free) == ("auto", "auto")
    assert {name: experiment_identity(plain)["train"][name] for name in WAYS} == dict.fromkeys(WAYS, "auto")
    assert config_id(experiment("device=cpu")) == config_id(experiment("device=cuda")) == config_id(plain)
    words = [[], AS_RECORDED[:1], AS_RECORDED[1:], AS_RECORDED, ["train.cpu_kernels=true"]]
    assert len({config_id(experiment(*more)) for more in words}) == len(words)


def test_reference_is_what_records_were_made_with() -> None:
    """The identifier is that of a committed record, results/kernels/stsb/minilm/lora-3ab82ab1, but for a later rule."""
    assert config_id(experiment("train=reference")) == config_id(experiment(*AS_RECORDED))
    words = ["suite=minilm_glue", "task=stsb", "method=lora", "data.dir=/somewhere"]
    runs = plan(Request((*words, "seed=4")))
    kernels = plan(Request((*words, "seed=4", "train.cpu_kernels=true")))
    unpadded = plan(Request((*words, "seed=4", "train.padding_free=true")))
    for run in (*runs, *kernels, *unpadded):
        assert run.experiment.method.corrections == ["grouped_by_seed"]
        run.experiment.method.corrections = []
    assert [config_id(run.experiment) for run in runs] == ["3ab82ab1"]
    recorded = {path.name for path in (RESULTS / "kernels" / "stsb" / "minilm").glob("lora-*")}
    assert {f"lora-{config_id(run.experiment)}" for run in (*runs, *kernels, *unpadded)} == recorded


def test_a_t5_whose_references_were_cut_is_another_run() -> None:
    base = ["task=e2e", "method=lora", "data=generated", "model=any", "model.checkpoint=google/flan-t5-base"]
    for length, applies in (512, False), (600, True):
        run = experiment(f"task.max_length={length}", base=base)
        assert ("whole_references" in run.method.corrections) == applies
    other = [*base[:-1], "model.checkpoint=facebook/bart-base", "task.max_length=600"]
    assert "whole_references" not in experiment(base=other).method.corrections


@pytest.mark.parametrize(
    ("words", "applies"),
    [
        (["model=qwen25_05b"], True),
        (["model=llama32_1b"], True),
        (["model=any", "model.checkpoint=answerdotai/ModernBERT-base"], True),
        (["model=gpt2"], False),
        (["model=tinyllama"], False),
    ],
)
def test_taggers_whose_words_were_cut_otherwise_are_other_runs(words: list[str], applies: bool) -> None:
    run = experiment(*words, base=["task=bionlp", "method=lora", "data=generated"])
    assert ("words_as_text" in run.method.corrections) == applies
    recorded = experiment_identity(run)
    recorded["method"].pop("corrections", None)
    assert any("blanks" in clause for clause in earlier_rules(recorded)) == applies


@pytest.mark.sample(one_in=2)
@pytest.mark.parametrize("said", ["maybe", "null", "1", "'true'"])
@pytest.mark.parametrize("way", WAYS)
def test_a_way_is_auto_or_true_or_false(way: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        experiment(f"train.{way}={said}")
    assert way in str(caught.value)


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
    way: str = field(default="off", metadata=recorded_as("off"))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Outer(), {"old": 1}),
        (Outer(new=2, listed=[], inner=Inner(old=1)), {"old": 1}),
        (Outer(new=3.0), {"old": 1, "new": 3.0}),
        (Outer(listed=[0]), {"old": 1, "listed": [0]}),
        (Outer(inner=Inner(new=True)), {"old": 1, "inner": {"old": 1, "new": True}}),
        (Outer(inner=Inner(old=0)), {"old": 1, "inner": {"old": 0}}),
        (Outer(way="auto"), {"old": 1, "way": "auto"}),
    ],
)
def test_settings_added_later_count_only_where_they_are_set(node: Outer, expected: dict[str, object]) -> None:
    assert identity(node) == expected


@pytest.mark.parametrize(
    "word", ["method.search.inner_steps=2", "method.variant.rate_ratio=4.0", "data.held_out=0.25", "seed=3"]
)
def test_the_value_of_a_setting_is_known_from_a_record_that_left_it_out(word: str) -> None:
    """A record that was made with the default has no such entry, at whatever depth."""
    name, _, value = word.partition("=")
    base = [*BASE, "method=lora"] if "variant" in name else BASE
    if name == "seed":
        with pytest.raises(KeyError, match="seed"):
            recorded_value(experiment_identity(experiment()), experiment(), name)
        return
    plain, other = experiment(base=base), experiment(word, base=base)
    assert recorded_value(experiment_identity(plain), other, name) == attrgetter(name)(plain)
    assert recorded_value(experiment_identity(other), plain, name) == float(value)
    assert attrgetter(name)(plain) != float(value)
