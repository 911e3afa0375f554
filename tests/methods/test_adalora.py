"""AdaLoRA: its triplets beside a plain loop over PEFT's own model, and that its allocation cannot be missed."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup, set_seed

from autolora_bench.errors import UserError
from autolora_bench.methods.rank_schedule import RankSchedule
from autolora_bench.record import Status, read_record
from autolora_bench.runner import run_experiment
from autolora_bench.training.checkpoints import CheckpointPolicy
from autolora_bench.training.trainer import FinetuneTrainer

WORDS = ["adalora", "method.initial_rank=5", "method.target_rank=2", "method.orthogonality=0.4"]
SMOOTHED, ACCUMULATED = "train.label_smoothing=0.1", "train.accumulation=4"
Watched = list[dict[str, Any]]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """One entry per optimizer step: its micro-batches with the random state before each, and what it left."""
    steps: Watched = []
    training_step, on_optimizer_step = FinetuneTrainer.training_step, RankSchedule.on_optimizer_step

    def watch_batch(self: Any, model: Any, inputs: Any, *more: Any) -> Any:
        if not steps or "E" in steps[-1]:
            steps.append({"batches": []})
        steps[-1]["batches"].append((torch.get_rng_state(), {k: v.clone() for k, v in inputs.items()}))
        loss = training_step(self, model, inputs, *more)
        steps[-1]["loss"] = steps[-1].get("loss", 0.0) + float(loss)
        return loss

    def watch_step(self: Any, *arguments: Any, **more: Any) -> None:
        on_optimizer_step(self, *arguments, **more)
        steps[-1]["E"] = triplets(self.model)
        steps[-1]["averages"] = copy.deepcopy(self.allocator.exp_avg_ipt)

    monkeypatch.setattr(FinetuneTrainer, "training_step", watch_batch)
    monkeypatch.setattr(RankSchedule, "on_optimizer_step", watch_step)
    return steps


def triplets(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if "lora_E" in n}


def run(experiment: Any, folder: Path) -> Any:
    record = run_experiment(experiment, folder, "autolora-bench ...", None)
    assert record.status is Status.completed, record.error
    return record


def plain_loop(experiment: Any, steps: Watched, accumulation: int) -> Iterator[tuple[float, Any]]:
    """PEFT's model and its documented loop, on the same batches and dropout masks: penalty inside its forward pass."""
    method, total = experiment.method, len(steps)
    set_seed(experiment.seed)
    base = AutoModelForSequenceClassification.from_pretrained(experiment.model.checkpoint, num_labels=2)
    model = peft.get_peft_model(
        base,
        peft.AdaLoraConfig(
            task_type="SEQ_CLS", target_modules=["query", "value"], init_r=5, target_r=2, lora_alpha=16,
            lora_dropout=0.1, orth_reg_weight=0.4, total_step=total, tinit=total // 10,
            tfinal=total // 2, deltaT=1,
        ),
    ).train()  # fmt: skip
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    plain = [p for n, p in trained.items() if n.endswith("bias")]
    decayed = [p for n, p in trained.items() if not n.endswith("bias")]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=method.learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, total)
    for number, step in enumerate(steps, start=1):
        loss = 0.0
        for random_state, batch in step["batches"]:
            torch.set_rng_state(random_state)
            part = model(**batch).loss / accumulation
            part.backward()
            loss += float(part)
        torch.nn.utils.clip_grad_norm_(list(trained.values()), 1.0)
        optimizer.step()
        model.base_model.update_and_allocate(number)
        schedule.step()
        optimizer.zero_grad()
        yield loss, model


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.sample(keep=("2",))
def test_triplets_and_losses_are_those_of_a_plain_peft_loop(
    accumulation: int, composed: Any, tmp_path: Path, watched: Watched
) -> None:
    experiment = composed(*WORDS, f"train.accumulation={accumulation}", "train.keep=last", "train.epochs=2")
    record = run(experiment, tmp_path)
    assert len(watched) == 12
    assert {len(step["batches"]) for step in watched} == {accumulation}
    pruned = 0
    for step, (loss, model) in zip(watched, plain_loop(experiment, watched, accumulation), strict=True):
        assert step["loss"] == pytest.approx(loss, rel=1e-4)
        for name, expected in triplets(model).items():
            assert torch.equal(step["E"][name] == 0, expected == 0), name
            torch.testing.assert_close(step["E"][name], expected, rtol=2e-3, atol=1e-5)
        pruned = sum(int((e == 0).sum()) for e in step["E"].values())
    assert pruned == 4 * (5 - 2)
    kept = [int((e != 0).sum()) for e in watched[-1]["E"].values()]
    assert [layer.rank for layer in record.ranks] == kept
    assert sum(kept) == 8
    assert len(set(kept)) > 1, "ranks differ over layers"


def test_the_penalty_is_the_one_of_pefts_forward_pass(composed: Any, trained: Any) -> None:
    experiment = composed(*WORDS)
    base = AutoModelForSequenceClassification.from_pretrained(experiment.model.checkpoint, num_labels=2)
    options = {"task_type": "SEQ_CLS", "target_modules": ["query", "value"], "init_r": 5, "target_r": 2}
    model = peft.get_peft_model(
        base, peft.AdaLoraConfig(total_step=10, orth_reg_weight=0.0, **options)
    ).eval()
    schedule = RankSchedule(model, lambda steps: (0, 0), 0.4, "nothing")
    batch = trained("adalora").batch
    without = model(**batch).loss
    model.peft_config["default"].orth_reg_weight = 0.4
    torch.testing.assert_close(schedule.penalty(), model(**batch).loss - without, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "words",
    [
        *(pytest.param(words, marks=pytest.mark.slow) for words in ([], [SMOOTHED], [ACCUMULATED])),
        [SMOOTHED, ACCUMULATED],
    ],
)
def test_the_penalty_is_in_the_loss_once(
    words: list[str], composed: Any, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label smoothing hides the model's own loss and so PEFT's penalty; accumulation would count it repeatedly."""
    losses = {}
    for weight in (0.0, 1000.0):
        watched.clear()
        changed = ["train.max_steps=3", "method.initial_share=0", *words, f"method.orthogonality={weight}"]
        run(composed("adalora", *changed), tmp_path / str(weight))
        losses[weight] = watched[0]["loss"]
    # lora_A and lora_B start so small that each of their products is nearly zero: |0 - I| is sqrt(6) for rank 6
    assert losses[1000.0] - losses[0.0] == pytest.approx(1000 * 6**0.5, rel=0.02)


@pytest.mark.slow
def test_resuming_restores_the_importance_of_every_weight(
    composed: Any, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = composed(*WORDS)
    run(experiment, tmp_path / "whole")
    whole = list(watched)
    watched.clear()
    on_step_end = CheckpointPolicy.on_step_end

    def interrupting(self: Any, args: Any, state: Any, control: Any, **more: Any) -> Any:
        on_step_end(self, args, state, control, **more)
        control.should_save |= state.global_step == 4
        if state.global_step == 5:
            raise KeyboardInterrupt
        return control

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointPolicy, "on_step_end", interrupting)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(experiment, tmp_path / "cut", "autolora-bench ...", None)
    watched.clear()
    run_experiment(
        experiment, tmp_path / "cut", "autolora-bench ...", read_record(tmp_path / "cut" / "run.json")
    )
    assert len(watched) == len(whole) - 4
    for resumed, step in zip(watched, whole[4:], strict=True):
        assert resumed["averages"].keys() == step["averages"].keys()
        assert all(torch.equal(a, step["averages"][name]) for name, a in resumed["averages"].items())
        assert all(torch.equal(e, step["E"][name]) for name, e in resumed["E"].items())


def test_the_record_tells_the_budgets_course(trained: Any) -> None:
    run = trained("adalora")
    details = run.record.phase("finetune").details
    assert (details["initial_budget"], details["target_budget"], details["total_rank"]) == (24, 16, 16)
    assert details["steps"] == {"total": 18, "initial": 1, "final": 9, "interval": 1}
    assert details["allocations"] == 8, "steps 2 to 9"
    budgets = [budget for _, budget in details["budget"]]
    assert budgets == sorted(budgets, reverse=True)
    assert (budgets[0], budgets[-1]) == (24, 16)
    assert dict(details["budget"])[5] == int(8 * (1 - 4 / 8) ** 3 + 16)


def test_only_weights_of_the_final_ranks_are_kept(composed: Any, tmp_path: Path, watched: Watched) -> None:
    """Whatever the scores: an epoch before the last allocation has a larger budget."""
    record = run(composed("adalora", "method.final_share=0.3", "train.epochs=4", "data.limit=24"), tmp_path)
    steps = record.phase("finetune").details["steps"]
    assert record.best["validation"].step >= steps["total"] - steps["final"]
    assert any(evaluation.step < steps["total"] - steps["final"] for evaluation in record.history)


def test_a_training_without_allocation_fails_loudly(
    composed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RankSchedule, "on_optimizer_step", lambda *_, **__: None)
    record = run_experiment(composed("adalora"), tmp_path, "autolora-bench ...", None)
    assert record.status is Status.failed
    assert "no step of AdaLoRA's rank allocation ran" in record.error["message"]  # type: ignore[index]


def test_too_few_steps_are_refused(composed: Any, tmp_path: Path) -> None:
    record = run_experiment(composed("adalora", "train.max_steps=1"), tmp_path, "autolora-bench ...", None)
    assert "no step to allocate ranks in" in record.error["message"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("method.initial_rank=4", "nothing to prune"),
        ("method.final_share=0.95", "no steps between"),
        ("method.interval=0", "interval"),
        ("method.orthogonality=-1", "orthogonality"),
        ("method.sensitivity_beta=0", "sensitivity_beta"),
        ("method.alpha=0", "method.alpha=0"),
    ],
)
@pytest.mark.sample(one_in=3)
def test_contradictions_are_refused(word: str, match: str, composed: Any) -> None:
    with pytest.raises(UserError, match=match):
        composed("adalora", word)
