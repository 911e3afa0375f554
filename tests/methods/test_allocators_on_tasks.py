"""Every allocator on the tasks beside classification: tagging with an encoder, data-to-text with GPT-2."""

from pathlib import Path
from typing import Any

import pytest

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.registry import methods
from autolora_bench.methods import search_training
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
QUICK = {("bionlp", "increlora")}
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
    start = ["initialise"] if method == "gora" else []
    assert [phase.name for phase in record.phases] == ["search", *start, "retrain", "evaluate"]


@pytest.mark.parametrize("method", ["sora", "l1ra"])
@pytest.mark.sample(keep=("sora",))
def test_the_search_trains_the_head_at_the_heads_rate(
    method: str, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a group of its own, beside those of the weights and of the gates."""
    rates: list[dict[str, float]] = []
    train = search_training.train_or_resume

    def watched(trainer: Any, identity: str) -> Any:
        found = train(trainer, identity)
        groups = trainer.optimizer.param_groups
        kinds = [
            "head" if group.get("head") else "gates" if group.get("gates") else "own" for group in groups
        ]
        rates.append({kind: group["initial_lr"] for kind, group in zip(kinds, groups, strict=True)})
        return found

    monkeypatch.setattr(search_training, "train_or_resume", watched)
    words = [*COMMON, *TASKS["bionlp"], f"method={method}", f"model.checkpoint={tiny_encoder}"]
    words += ["train.head_learning_rate=0.03", "method.learning_rate=0.004", "method.gate_learning_rate=0.5"]
    with composer():
        experiment = to_experiment(compose_config(words))
    run_experiment(experiment, tmp_path, "autolora-bench ...", None)
    assert rates == [{"own": 0.004, "gates": 0.5, "head": 0.03}]
