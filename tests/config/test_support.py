"""What methods work on is stated for every kind, and what they do not work on is refused in one line."""

import pytest

from autolora_bench.config import support
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.method import LoraConfig
from autolora_bench.config.store import METHODS, TASKS
from autolora_bench.config.support import KINDS, SUPPORT, Support, check_architecture, check_task
from autolora_bench.config.task import ClassificationTask, GenerationTask, TaggingTask
from autolora_bench.errors import UserError

ONLY_TEXT = Support((GenerationTask,), ("llama", "qwen2"), "it decodes")


def test_every_kind_of_method_and_task_is_there() -> None:
    assert set(SUPPORT) == set(METHODS.values())
    assert set(KINDS) == set(TASKS.values())


def test_a_task_that_a_method_does_not_work_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(support.SUPPORT, LoraConfig, ONLY_TEXT)
    with composer(), pytest.raises(UserError) as error:
        to_experiment(compose_config(["task=sst2", "method=lora", "data=generated"]))
    assert error.value.what == "method=lora does not work on classification (task=sst2): it decodes"
    assert error.value.mend.startswith("it works on generation;")
    check_task(LoraConfig(name="lora"), GenerationTask(name="e2e"))


def test_a_model_that_a_method_does_not_work_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(support.SUPPORT, LoraConfig, ONLY_TEXT)
    with pytest.raises(UserError, match="does not work on a bert model"):
        check_architecture(LoraConfig(name="lora"), "bert", GenerationTask(name="e2e"))
    check_architecture(LoraConfig(name="lora"), "qwen2", GenerationTask(name="e2e"))


def test_what_is_limited_is_said_to_readers() -> None:
    assert ONLY_TEXT.sentence() == "generation; llama, qwen2"
    assert Support((ClassificationTask, TaggingTask)).sentence() == "classification, tagging"
    assert Support().sentence() == ""
