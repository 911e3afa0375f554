"""The last evaluation takes the training's own predictions, once the saved weights give them again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autolora_bench.config.compose import compose_config, composer, to_experiment
from autolora_bench.config.task import ClassificationTask
from autolora_bench.methods import evaluation
from autolora_bench.methods.evaluation import CHECKED, EvaluatePhase
from autolora_bench.methods.finetuning import FinetunePhase
from autolora_bench.metrics.scores import MetricScores
from autolora_bench.record import RunRecord, Status, read_record
from autolora_bench.runner import run_experiment
from autolora_bench.tasks import classification
from autolora_bench.tasks.base import Result

EXAMPLES, BATCH = 40, 8
EPOCHS = 2
Run = Callable[..., tuple[RunRecord, Path]]


@pytest.fixture(scope="module")
def run_in(tiny_encoder: Path) -> Run:
    """Folder, words, record of the attempt before -> record and folder of a run."""

    def made(folder: Path, *words: str, earlier: RunRecord | None = None) -> tuple[RunRecord, Path]:
        head = ["task=stsb", "method=lora", "model=any", f"model.checkpoint={tiny_encoder}", "data=generated"]
        sizes = ["data.limit=32", f"data.limit_evaluation={EXAMPLES}", f"train.evaluation_batch_size={BATCH}"]
        rest = [
            f"train.epochs={EPOCHS}",
            "train.batch_size=8",
            "method.learning_rate=3e-3",
            "device=cpu",
            "~recipe",
            "~cell",
        ]
        with composer():
            cell = to_experiment(compose_config([*head, *sizes, *rest, *words]))
        return run_experiment(cell, folder, "autolora-bench ...", earlier), folder

    return made


@pytest.fixture
def run(run_in: Run, own_cache: Path, tmp_path: Path) -> Run:
    return lambda *words, name="run", **more: run_in(tmp_path / name, *words, **more)


def counted(patch: pytest.MonkeyPatch) -> list[int]:
    """Fills with the examples of every evaluation."""
    found: list[int] = []
    logits = classification.logits

    def count(model: nn.Module, split: Any, *rest: Any) -> list[torch.Tensor]:
        found.append(len(split))
        return logits(model, split, *rest)

    patch.setattr(classification, "logits", count)
    return found


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Examples of every evaluation."""
    return counted(monkeypatch)


@pytest.fixture(scope="module")
def whole(run_in: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path, list[int]]:
    """Record, folder and evaluations of a run as ever."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOLORA_BENCH_CACHE", str(folder / "cache"))
        evaluations = counted(patch)
        record, _ = run_in(folder / "run")
    return record, folder / "run", evaluations


def predictions(folder: Path) -> list[float]:
    return [json.loads(line) for line in (folder / "evaluate" / "validation.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("keep", ["best", pytest.param("last", marks=pytest.mark.slow)])
def test_a_few_batches_are_predicted_again_and_the_rest_is_taken(
    keep: str,
    run: Run,
    whole: tuple[RunRecord, Path, list[int]],
    passed: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record, folder, evaluated = whole if keep == "best" else (*run(f"train.keep={keep}"), passed)
    assert record.status is Status.completed, record.error
    assert evaluated == [EXAMPLES] * EPOCHS + [CHECKED * BATCH]
    taken = predictions(folder)
    kept = (record.best if keep == "best" else record.last)["validation"].scores
    assert record.phase("evaluate").details["validation"] == kept  # type: ignore[union-attr]
    monkeypatch.setattr(evaluation, "_is_confirmed", lambda *_: False)
    passed.clear()
    _, again = run(f"train.keep={keep}", name="again")
    assert passed == [EXAMPLES] * (EPOCHS + 1)
    assert predictions(again) == taken


def test_weights_that_give_others_are_evaluated_in_full(
    run: Run, whole: tuple[RunRecord, Path, list[int]], passed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild = FinetunePhase.rebuild

    def damaged(self: FinetunePhase, context: Any) -> nn.Module:
        model = rebuild(self, context)
        with torch.no_grad():
            next(w for w in model.parameters() if w.requires_grad).add_(0.1)
            for weight in model.parameters():
                weight.add_(1e-3)
        return model

    monkeypatch.setattr(FinetunePhase, "rebuild", damaged)
    _, folder = run()
    assert passed == [EXAMPLES] * EPOCHS + [CHECKED * BATCH, EXAMPLES]
    assert predictions(folder) != predictions(whole[1])


def test_a_run_that_is_resumed_after_its_training_evaluates_in_full(
    run: Run,
    whole: tuple[RunRecord, Path, list[int]],
    passed: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluate = EvaluatePhase.run

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EvaluatePhase, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.setattr(EvaluatePhase, "run", evaluate)
    passed.clear()
    _, folder = run(earlier=read_record(tmp_path / "run" / "run.json"))
    assert passed == [EXAMPLES]
    assert predictions(folder) == predictions(whole[1])


@pytest.mark.parametrize(
    "before",
    [Result(None, EXAMPLES, [], note="after an epoch: a part"), Result(None, EXAMPLES - 1, [])],  # type: ignore[arg-type]
)
@pytest.mark.sample(keep=("before0",))
def test_a_part_of_a_split_is_no_evaluation_of_it(
    before: Result, run: Run, passed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = FinetunePhase.run

    def partly(self: FinetunePhase, context: Any) -> Any:
        found = train(self, context)
        context.predicted = {"validation": before}
        return found

    monkeypatch.setattr(FinetunePhase, "run", partly)
    record, folder = run()
    assert record.status is Status.completed, record.error
    assert passed == [EXAMPLES] * (EPOCHS + 1)
    assert len(predictions(folder)) == EXAMPLES


@pytest.mark.parametrize(("task", "metric"), [("rte", "accuracy"), ("stsb", "spearman")])
def test_the_share_of_the_most_frequent_label_stands_beside_an_accuracy(
    run: Run, whole: tuple[RunRecord, Path, list[int]], task: str, metric: str
) -> None:
    """As counted from what the run itself says is right; other metrics have no such thing."""
    record, folder = whole[:2] if task == "stsb" else run(f"task={task}", "train.epochs=1")
    lines = (folder / "evaluate/validation.examples.jsonl").read_text("utf-8").splitlines()
    gold = [json.loads(line)["gold"] for line in lines]
    found = {evaluation.largest_class for evaluation in (*record.best.values(), *record.last.values())}
    assert record.headline == metric
    assert found == {max(map(gold.count, gold)) / len(gold) if metric == "accuracy" else None}


def test_columns_with_a_name_of_the_examples_own_are_kept_beside_it() -> None:
    """And those that another kind of task would have its answers in."""
    texts = ["prediction", "id", "id_", "gold", "tags"]
    given = [{name: f"text of {name}" for name in texts} | {"label": 1}]
    scored = Result(MetricScores({}), 1, ["a"], ["b"], [0.5])
    task = ClassificationTask(name="own", labels=["a", "b"], texts=texts)
    assert json.loads(evaluation._examples(task, given, scored)) == {
        "id": 0,
        "prediction_": "text of prediction",
        "id__": "text of id",
        "id_": "text of id_",
        "gold_": "text of gold",
        "tags": "text of tags",
        "gold": "b",
        "prediction": "a",
        "probability": 0.5,
    }
