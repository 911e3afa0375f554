"""LoRA through this runner beside a plain PEFT and Trainer script, step by step; and batches however they are split."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.methods.base import PhaseContext
from autolora_bench.record import RunRecord, Status
from autolora_bench.runner import run_experiment
from autolora_bench.training.trainer import FinetuneTrainer

SMALL = [
    "data=generated",
    "data.limit=40",
    "data.limit_evaluation=16",
    "~recipe",
    "~cell",
    "device=cpu",
    "model=any",
]
Losses = list[float]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOLORA_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Losses:
    """What the runner's training steps return, in their order."""
    seen: Losses = []
    training_step = FinetuneTrainer.training_step

    def watch(self: Any, *arguments: Any, **more: Any) -> Any:
        loss = training_step(self, *arguments, **more)
        seen.append(float(loss))
        return loss

    monkeypatch.setattr(FinetuneTrainer, "training_step", watch)
    return seen


@pytest.fixture
def without_dropout(tiny_encoder: Path, tmp_path: Path) -> Path:
    """The tiny encoder, whose passes do not depend on how a batch is split."""
    folder = tmp_path / "without_dropout"
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def experiment(model: Path, *words: str) -> Any:
    with composer():
        return to_experiment(compose_config([*SMALL, f"model.checkpoint={model}", *words]))


def own_files(model: Path, *words: str) -> Any:
    with composer():
        return to_experiment(compose_config([*SMALL[3:], f"model.checkpoint={model}", *words]))


def run(cell: Any, folder: Path) -> RunRecord:
    record = run_experiment(cell, folder, "autolora-bench ...", None)
    assert record.status is Status.completed, record.error
    return record


def plain_script(model: Path, train: Dataset, folder: Path) -> tuple[Losses, dict[str, torch.Tensor]]:
    """What anybody would write with PEFT and Trainer; no evaluation, no checkpoints, stock saving."""
    set_seed(3)
    base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2)
    lora = peft.LoraConfig(
        task_type="SEQ_CLS", r=4, lora_alpha=16, lora_dropout=0.1, target_modules=["query", "value"]
    )
    seen: Losses = []

    class Watched(Trainer):
        def training_step(self, *arguments: Any, **more: Any) -> torch.Tensor:
            loss = super().training_step(*arguments, **more)
            seen.append(float(loss))
            return loss

    arguments = TrainingArguments(
        str(folder), num_train_epochs=3, per_device_train_batch_size=8, learning_rate=2e-3, weight_decay=0.01,
        warmup_steps=0.06, lr_scheduler_type="linear", seed=3, data_seed=3, report_to="none", use_cpu=True,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = Watched(
        model=peft.get_peft_model(base, lora), args=arguments, train_dataset=train,
        data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(model)),
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(folder / "saved"))
    return seen, load_file(folder / "saved" / "adapter_model.safetensors")


def test_lora_is_what_a_plain_script_computes(tiny_encoder: Path, tmp_path: Path, losses: Losses) -> None:
    """Same losses to the last bit, same adapter: evaluation, checkpoints and the meter leave no trace."""
    words = [
        "train=reference",
        "task=sst2",
        "method=lora",
        "seed=3",
        "train.epochs=3",
        "train.batch_size=8",
        "train.keep=last",
    ]
    cell = experiment(tiny_encoder, *words, "method.learning_rate=2e-3", "train.checkpoint_minutes=0")
    run(cell, tmp_path / "run")
    train = PhaseContext(cell, tmp_path, torch.device("cpu")).splits.train
    expected, adapter = plain_script(tiny_encoder, train, tmp_path / "plain")
    assert len(losses) == 15
    assert losses == expected
    exported = load_file(tmp_path / "run/finetune/export/adapter_model.safetensors")
    assert exported.keys() == adapter.keys()
    assert all(torch.equal(tensor, adapter[name]) for name, tensor in exported.items())
    assert any("classifier" in name for name in adapter)


def steps(losses: Losses, size: int) -> Iterator[float]:
    """Sums over the micro-batches of each optimizer step."""
    for start in range(0, len(losses), size):
        yield sum(losses[start : start + size])


@pytest.mark.parametrize("task", ["sst2", "stsb", "bionlp"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.sample(keep=("0.1-bionlp",))
def test_accumulated_micro_batches_are_the_batch(
    task: str, smoothing: float, without_dropout: Path, tmp_path: Path, losses: Losses
) -> None:
    """Labels of a sentence differ in number, so the micro-batches of a tagging task do not weigh the same."""
    if task == "stsb" and smoothing:
        pytest.skip("a regression has no labels to smooth")
    found = {}
    for parts in (1, 2, 4):
        losses.clear()
        words = [
            f"task={task}",
            "method=lora",
            "method.dropout=0",
            "method.learning_rate=1e-3",
            "train.epochs=1",
        ]
        words += ["train.batch_size=8", f"train.accumulation={parts}", f"train.label_smoothing={smoothing}"]
        run(experiment(without_dropout, *words), tmp_path / str(parts))
        found[parts] = list(steps(losses, parts))
        assert len(found[parts]) == 5
    assert found[2] == pytest.approx(found[1], rel=1e-4)
    assert found[4] == pytest.approx(found[1], rel=1e-4)


def test_any_number_is_a_label(without_dropout: Path, tmp_path: Path) -> None:
    """-100 among the numbers to be predicted counts as any other does, alone in its micro-batch too."""
    (tmp_path / "change.csv").write_text(
        "text,label\n" + "".join(f"word {n},{-100.0 if n % 3 else n + 0.5}\n" for n in range(16))
    )
    found = []
    for accumulation in (1, 4):
        words = ["task=any", "data=files", "task.kind=regression", f"data.train={tmp_path / 'change.csv'}"]
        words += ["method=lora", "train.batch_size=4", f"train.accumulation={accumulation}", "train.epochs=1"]
        words += ["train.clip=0", "method.learning_rate=1e-4", "method.dropout=0"]
        folder = tmp_path / str(accumulation)
        run(own_files(without_dropout, *words), folder)
        found.append(load_file(folder / "finetune" / "weights.safetensors"))
    one, four = found
    for name, weight in one.items():
        torch.testing.assert_close(four[name], weight, rtol=1e-4, atol=1e-7)
