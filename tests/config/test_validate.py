"""Settings that cannot be are refused when they are composed, each by its dotted name."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest

from autolora_bench.config.choices import choices
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.experiment import ExperimentConfig, config_id, run_folder
from autolora_bench.config.label_texts import question
from autolora_bench.config.ranges import check_ranges
from autolora_bench.config.registry import methods
from autolora_bench.config.task import TASKS, ClassificationTask
from autolora_bench.config.train import TrainConfig
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir
from autolora_bench.plan import command_line


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize(
    ("method", "word"),
    [
        ("lora", "method.alpha=-1.0"),
        ("lora", "method.variant.rate_ratio=0.0"),
        ("adapter", "method.drop=1.0"),
        ("adapter", "method.initial_std=0.0"),
        ("prefix_tuning", "method.virtual_tokens=0"),
        ("prefix_tuning", "method.projection=0"),
        ("prompt_tuning", "method.virtual_tokens=-1"),
        ("p_tuning", "method.virtual_tokens=0"),
        ("p_tuning", "method.units=0"),
        ("llama_adapter", "method.virtual_tokens=0"),
        ("llama_adapter", "method.drop=1.5"),
        ("ia3", "method.learning_rate=-1.0"),
    ],
)
def test_what_a_method_cannot_be_is_refused(method: str, word: str) -> None:
    task = "e2e" if method == "llama_adapter" else "rte"
    with composer(), pytest.raises(UserError) as error:
        to_experiment(compose_config([f"task={task}", "data=generated", f"method={method}", word]))
    assert error.value.what.startswith(word)
    assert error.value.mend


@pytest.mark.parametrize(
    ("word", "mend"),
    [
        ("model.dtype=fp16", "say model.dtype=bf16, which has the range of fp32"),
        ("train.precision=fp16", "say train.precision=bf16, which has the range of fp32"),
        ("train.precision=bf17", "say one of: fp32, bf16"),
        ("data.source=hubb", "say one of: hub, local, generated, files, planted"),
    ],
)
def test_a_choice_that_there_is_not_is_refused_with_those_there_are(word: str, mend: str) -> None:
    with composer(), pytest.raises(UserError) as error:
        compose_config(["task=rte", "data=generated", "method=lora", word])
    assert error.value.what.startswith(word)
    assert error.value.mend == mend


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("group", ["method", "task", "train"])
def test_every_number_is_finite(group: str, value: float) -> None:
    kinds = {
        "method": [kind.config for kind in methods().values()],
        "task": TASKS.values(),
        "train": [TrainConfig],
    }
    for node in (kind() for kind in kinds[group]):
        experiment = ExperimentConfig(**{group: node})
        check_ranges(experiment)
        for name, owner, field in list(floats(node, group)):
            kept = getattr(owner, field)
            setattr(owner, field, value)
            with pytest.raises(UserError) as error:
                check_ranges(experiment)
            assert error.value.what == f"{name}={value} is no finite number"
            setattr(owner, field, kept)


def floats(node: Any, path: str) -> Iterator[tuple[str, Any, str]]:
    """Dotted name, owner and field of every number that is a float."""
    for field in dataclasses.fields(node):
        value, name = getattr(node, field.name), f"{path}.{field.name}"
        if dataclasses.is_dataclass(value):
            yield from floats(value, name)
        elif isinstance(value, float):
            yield name, node, field.name


@pytest.mark.sample(one_in=4, keep=("llama_adapter", "oracle", "lora_from_ranks", "peft"))
@pytest.mark.parametrize("method", choices("method", [conf_dir()]))
def test_what_is_shipped_is_accepted(method: str) -> None:
    task, model, data = {
        "llama_adapter": ("e2e", "smollm2_135m", "generated"),
        "oracle": ("planted", "small", "planted"),
        "reversed": ("planted", "small", "planted"),
    }.get(method, ("rte", "minilm", "generated"))
    ranks = ["+method.ranks.a=1"] if method in ("lora_from_ranks", "lora_shuffled_ranks") else []
    kind = ["method.type=BOFT"] if method == "peft" else []
    words = [f"task={task}", f"model={model}", f"data={data}", f"method={method}", *ranks, *kind]
    with composer():
        assert to_experiment(compose_config(words)).method.name == ("peft_boft" if kind else method)


def test_a_task_with_shuffled_labels_is_another_task_and_is_asked_for_in_the_same_words() -> None:
    words = ["task=mrpc", "data=generated", "method=lora"]
    with composer():
        true, mixed = (
            to_experiment(compose_config([*words, f"data.shuffle_labels={said}"]))
            for said in ("false", "true")
        )
        usual = to_experiment(compose_config(words))
    assert config_id(true) == config_id(usual) != config_id(mixed)
    assert (mixed.task.name, mixed.task.title) == ("mrpc_shuffled", f"{true.task.title}, shuffled labels")
    assert run_folder(mixed) != run_folder(true)
    command = command_line(mixed, ["data=generated", "data.shuffle_labels=true"])
    assert command == "autolora-bench data=generated data.shuffle_labels=true task=mrpc method=lora"
    texts = {"texts": ["A.", "B."]}
    assert isinstance(mixed.task, ClassificationTask)
    assert isinstance(true.task, ClassificationTask)
    assert question(mixed.task, **texts) == question(true.task, **texts)


def test_a_task_whose_own_name_ends_as_shuffled_ones_do_is_renamed_too() -> None:
    with composer():
        words = ["task=mrpc", "task.name=mine_shuffled", "data=generated", "method=lora"]
        assert to_experiment(compose_config(words)).task.name == "mine_shuffled"
        mixed = to_experiment(compose_config([*words, "data.shuffle_labels=true"]))
    assert mixed.task.name == "mine_shuffled_shuffled"


@pytest.mark.parametrize("task", ["bionlp", "e2e", "planted"])
def test_labels_that_are_no_single_ones_are_not_shuffled(task: str) -> None:
    model = ["model=small", "data=planted"] if task == "planted" else ["data=generated"]
    with composer(), pytest.raises(UserError) as error:
        to_experiment(compose_config([f"task={task}", *model, "method=lora", "data.shuffle_labels=true"]))
    assert error.value.what.startswith(f"data.shuffle_labels=true with task={task}")


@pytest.mark.parametrize("named", [[], ["model.name=bert_tiny"]])
def test_a_model_of_the_hub_is_not_another_models_package(named: list[str]) -> None:
    """Its record would carry the name of one and the weights of the other."""
    words = [
        "task=rte",
        "data=generated",
        "method=lora",
        "model=minilm",
        "model.hub=someone/bert-tiny",
        *named,
    ]
    with composer(), pytest.raises(UserError) as error:
        to_experiment(compose_config(words))
    assert "are those of sentence-transformers/all-MiniLM-L6-v2" in error.value.what
    assert error.value.mend == "say model=any model.checkpoint=someone/bert-tiny"
