"""The order of training examples: of the seed and the epoch alone, whatever interrupts a run and whatever it draws."""

from pathlib import Path
from typing import Any

import pytest

from autolora_bench.runner import run_experiment
from autolora_bench.training.trainer import FinetuneTrainer


def test_batches_of_similar_lengths_are_the_same_after_an_interruption(
    trained: Any, tmp_path: Path, interrupt_every_training_once: Any, resumed: Any
) -> None:
    run = trained("lora", "train.group_by_length=true")
    interrupted = interrupt_every_training_once(step=9)  # in the second of three epochs of six steps
    record = resumed(run.experiment, tmp_path)
    assert len(interrupted) == 1
    assert record.history == run.record.history
    [weights] = run.folder.rglob("weights.safetensors")
    assert (tmp_path / weights.relative_to(run.folder)).read_bytes() == weights.read_bytes()


@pytest.mark.parametrize("grouped", ["false", "true"])
def test_runs_of_one_seed_train_in_one_order_whatever_dropout_draws(
    grouped: str, composed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    training_step = FinetuneTrainer.training_step

    def watching(self: Any, model: Any, inputs: Any, *more: Any) -> Any:
        seen[-1] += inputs["labels"].tolist() + inputs["input_ids"].sum(dim=1).tolist()
        return training_step(self, model, inputs, *more)

    monkeypatch.setattr(FinetuneTrainer, "training_step", watching)
    for number, words in enumerate((["lora"], ["lora", "method.dropout=0"], ["head_only"])):
        seen.append([])
        experiment = composed(*words, f"train.group_by_length={grouped}", "train.epochs=2", "data.limit=24")
        assert run_experiment(experiment, tmp_path / str(number), "autolora-bench ...", None).error is None
    assert len(seen[0]) == 2 * 2 * 24
    assert seen[0] == seen[1] == seen[2]
