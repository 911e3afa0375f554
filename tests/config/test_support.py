"""What methods work on is stated for every kind, and what they do not work on is refused in one line."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora_bench import cli
from autolora_bench.config.architectures import Is, those
from autolora_bench.config.choices import choices, schema_of
from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.method import LoraConfig
from autolora_bench.config.registry import KINDS, Support, kind_of, methods
from autolora_bench.config.support import (
    UnsupportedError,
    check_architecture,
    check_task,
)
from autolora_bench.config.task import TASKS, AnyTask, ClassificationTask, GenerationTask, TaggingTask
from autolora_bench.errors import UserError
from autolora_bench.paths import conf_dir

ONLY_TEXT = Support((GenerationTask,), ("llama", "qwen2"), "it decodes")


def test_every_kind_of_method_and_task_is_there() -> None:
    assert all(kind_of(kind.config()) is kind for kind in methods().values())
    assert all(kind.build(kind.config()).phases for kind in methods().values())
    assert {*KINDS, AnyTask} == set(TASKS.values())  # AnyTask becomes one of the others


def test_a_task_that_a_method_does_not_work_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods(), "lora", replace(methods()["lora"], works_on=ONLY_TEXT))
    with composer(), pytest.raises(UserError) as error:
        to_experiment(compose_config(["task=sst2", "method=lora", "data=generated"]))
    assert error.value.what == "method=lora does not work on classification (task=sst2): it decodes"
    assert error.value.mend.startswith("it works on generation;")
    check_task(LoraConfig(name="lora"), GenerationTask(name="e2e"))


def test_a_model_that_a_method_does_not_work_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods(), "lora", replace(methods()["lora"], works_on=ONLY_TEXT))
    with pytest.raises(UserError, match="does not work on a bert model"):
        check_architecture(LoraConfig(name="lora"), "bert", GenerationTask(name="e2e"))
    check_architecture(LoraConfig(name="lora"), "qwen2", GenerationTask(name="e2e"))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["method=llama_adapter", "task=rte"], "classification (task=rte): its prompts are PEFT's"),
        (
            ["method=llama_adapter", "task=e2e", "model=gpt2"],
            "a gpt2 model for generation: its prompts are PEFT's",
        ),
        (
            ["method=prefix_tuning", "task=rte", "model=mpnet_base"],
            "a mpnet model for classification: its attention",
        ),
        (
            ["method=prompt_tuning", "task=stsb", "model=smollm2_135m"],
            "a llama model for regression: it is not known",
        ),
        (["method=head_only", "task=e2e"], "generation (task=e2e): a language model gets no new head"),
        (["method=bitfit", "task=e2e", "model=smollm2_135m"], "a llama model: it has no bias terms"),
        (
            ["method=adapter", "task=rte", "model.architecture=opt"],
            "a opt model for classification: where its blocks",
        ),
    ],
)
def test_wrong_combinations_are_refused_before_anything_is_loaded(words: list[str], what: str) -> None:
    with composer(), pytest.raises(UnsupportedError) as error:
        to_experiment(compose_config(["data=generated", *words]))
    assert f"does not work on {what}" in error.value.what
    assert error.value.mend


@pytest.mark.parametrize("architecture", those(Is.unbiased))
def test_what_has_no_bias_has_none(architecture: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(architecture, num_hidden_layers=1))
    assert not [name for name, _ in model.named_parameters() if name.endswith(".bias")]


def test_ls_says_what_methods_work_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("# Mine (2026).\ndefaults: [llama_adapter]\nname: mine\n")
    assert cli.run(["ls", "methods", "--config-dir", str(tmp_path)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    following = {line.split()[0]: after for line, after in zip(lines, [*lines[1:], ""], strict=True)}
    for name in ("mine", "llama_adapter"):
        assert following[name] == "works on: generation; llama, mistral"
    assert following["bitfit"] == "works on: all but gemma2, llama, mistral, qwen3"
    assert not following["lora"].startswith("works on")


def test_every_method_names_its_schema() -> None:
    folders = [conf_dir()]
    found = {method: schema_of("method", method, folders) for method in choices("method", folders)}
    assert set(found.values()) <= set(methods())
    assert found["autolora_all_linear"] == "autolora"
    assert found["dora"] == "lora"
    assert found["lora_uniform"] == "ranked_lora"


def test_what_is_limited_is_said_to_readers() -> None:
    assert ONLY_TEXT.sentence() == "generation; llama, qwen2"
    assert Support((ClassificationTask, TaggingTask)).sentence() == "classification, tagging"
    assert Support().sentence() == ""
