"""Every allocator on the tasks beside classification: tagging with an encoder, data-to-text with GPT-2."""

from pathlib import Path
from typing import Any

import pytest

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.registry import methods
from autolora_bench.record import Status
from autolora_bench.runner import run_experiment

COMMON = [
    *("model=any", "data=generated", "device=cpu", "~recipe", "~cell", "train.warmup=0"),
    *("train.epochs=2", "train.batch_size=4", "train.label_smoothing=0.1", "method.learning_rate=5e-3"),
]
TASKS = {
    "bionlp": ["task=bionlp", "data.limit=24", "data.limit_evaluation=8"],
    "e2e": [
        *("task=e2e", "task.metrics=[bleu]", "task.epoch_records=4", "task.decoding.beams=1"),
        *("task.decoding.max_new_tokens=4", "data.limit=24", "data.limit_evaluation=8"),
    ],
}
QUICK = {("bionlp", "increlora"), ("e2e", "gora")}
CASES = [
    pytest.param(task, method, marks=[] if (task, method) in QUICK else pytest.mark.slow)
    for task in TASKS
    for method, kind in methods().items()
    if kind.family == "allocator"
]


@pytest.mark.parametrize(("task", "method"), CASES)
def test_it_runs_and_meets_the_budget(
    task: str, method: str, tiny_encoder: Path, tiny_decoder: Path, tmp_path: Path
) -> None:
    model: Any = tiny_decoder if task == "e2e" else tiny_encoder
    with composer():
        words = [*COMMON, *TASKS[task], f"method={method}", f"model.checkpoint={model}"]
        experiment = to_experiment(compose_config(words))
    record = run_experiment(experiment, tmp_path, "autolora-bench ...", None)
    assert record.status is Status.completed, record.error
    assert sum(layer.rank for layer in record.ranks) == 4 * len(record.ranks)
    assert [phase.name for phase in record.phases] == ["search", "retrain", "evaluate"]
