"""Exports are the same bytes in every process, and a pipeline made of one knows the classes by name."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.model import ModelConfig, PackageSource
from autolora_bench.models import hub
from autolora_bench.models.export_folder import PublicName, public_name
from autolora_bench.record import read_record
from autolora_bench.runner import run_experiment

ADAPTERS = """
import sys
from pathlib import Path
import peft
from transformers import AutoModelForSequenceClassification
from autolora_bench.models.export_folder import PublicName, _settle_adapter

layers = ["query", "key", "value", "attention.output.dense", "intermediate.dense"]
kinds = {
    "lora": peft.LoraConfig(task_type="SEQ_CLS", target_modules=layers, modules_to_save=["classifier"]),
    "ia3": peft.IA3Config(task_type="SEQ_CLS", target_modules=layers, feedforward_modules=layers[3:]),
}
for name, config in kinds.items():
    base = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
    folder = Path(sys.argv[2], name)
    peft.get_peft_model(base, config).save_pretrained(folder)
    _settle_adapter(folder / "adapter_config.json", PublicName("org/name", "main", "org/name"))
    print((folder / "adapter_config.json").read_text())
"""
TAGS = {
    "O",
    *(f"{mark}-{kind}" for mark in "BI" for kind in ("DNA", "protein", "cell_type", "cell_line", "RNA")),
}
SMALL = [
    "data=generated",
    "data.limit=24",
    "data.limit_evaluation=8",
    "train.epochs=1",
    "model=any",
    "device=cpu",
]


@pytest.mark.slow
def test_an_adapters_description_is_the_same_whatever_the_order_of_sets(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    found = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", ADAPTERS, str(tiny_encoder), str(tmp_path / seed)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        found.add(answer.stdout)
    assert len(found) == 1
    assert '"base_model_name_or_path": "org/name"' in found.pop()


@pytest.mark.parametrize(
    ("task", "method", "labels"),
    [
        ("cola", "dora", {"unacceptable", "acceptable"}),
        ("mnli", "full", {"entailment", "neutral", "contradiction"}),
        ("bionlp", "lora", TAGS),
    ],
)  # fmt: skip
@pytest.mark.sample(keep=("bionlp",))
def test_the_cards_lines_make_a_pipeline_that_names_the_classes(
    task: str, method: str, labels: set[str], tiny_encoder: Path, tmp_path: Path
) -> None:
    with composer():
        words = [*SMALL, f"task={task}", f"method={method}", f"model.checkpoint={tiny_encoder}"]
        experiment = to_experiment(compose_config(words))
    command = f"autolora-bench task={task} method={method} model.checkpoint={tiny_encoder} results={tmp_path}"
    record = run_experiment(experiment, tmp_path / "run", command, None)
    assert record.error is None, record.error
    export = tmp_path / "run/finetune/export"
    card = (export / "README.md").read_text()
    assert (
        f"\n    autolora-bench task={task} method={method} model.checkpoint=.../{tiny_encoder.name}\n" in card
    )
    assert f"fingerprint `{str(record.data['fingerprint'])[:16]}`" in card
    assert "Licence: none is granted here." in card
    assert str(tmp_path) not in card
    [code] = re.findall(r"```python\n(.*?)```", (export / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"FOLDER": str(export), "BASE": str(tiny_encoder)}
    exec(code, names)
    kind = "token-classification" if task == "bionlp" else "text-classification"
    answers = pipeline(kind, model=names["model"], tokenizer=names["tokenizer"])("the film is good")
    assert {answer.get("label") or answer.get("entity") for answer in answers} <= labels
    assert set(names["model"].config.id2label.values()) == labels
    assert read_record(tmp_path / "run/run.json").status.value == "completed"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ModelConfig("any", checkpoint="org/name", revision="v1"), PublicName("org/name", "v1", "org/name")),
        (
            ModelConfig("x", hub="org/name", path="{f}", revision="v1"),
            PublicName("org/name", "v1", "org/name"),
        ),
        (ModelConfig("any", checkpoint="{f}"), PublicName(None, None, "weights")),
        (
            ModelConfig("x", hub="org/name", package=PackageSource(["nowhere"], "1", folder="a")),
            PublicName("org/name", None, "org/name"),
        ),
    ],
)
def test_how_others_name_a_model(
    model: ModelConfig, expected: PublicName, tmp_path: Path, tiny_encoder: Path
) -> None:
    (tmp_path / "weights").symlink_to(tiny_encoder)
    for name in ("checkpoint", "path"):
        if getattr(model, name):
            setattr(model, name, getattr(model, name).replace("{f}", str(tmp_path / "weights")))
    assert public_name(model) == expected


def test_an_adapter_names_the_commit_that_it_was_trained_on(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = shutil.copytree(tiny_encoder, tmp_path / commit)
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(folder))
    with composer():
        words = [*SMALL, "task=cola", "method=lora", "model.checkpoint=org/name"]
        experiment = to_experiment(compose_config(words))
    record = run_experiment(experiment, tmp_path / "run", "", None)
    assert record.error is None, record.error
    export = tmp_path / "run/finetune/export"
    said = json.loads((export / "adapter_config.json").read_text())
    assert (said["base_model_name_or_path"], said["revision"]) == ("org/name", commit)
    assert f"revision='{commit}'" in (export / "README.md").read_text()
