"""What PEFT leaves to whoever trains is done: losses of a type's own, allocations, and an error where none ran."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from autolora_bench.methods.peft_hooks import OwnLoss, SubspaceSchedule
from autolora_bench.record import Status
from autolora_bench.runner import run_experiment

SHORT = ["data.limit=16", "data.limit_evaluation=4", "train.epochs=2", "train.batch_size=4"]
ADAPTIVE = "use_asa: true, r: 16, num_subspaces: 2, asa_target_subspaces: 3"


def words(kind: str, settings: str) -> list[str]:
    return [*SHORT, f"method.type={kind}", f"+method.settings={{{settings}}}"]


def first_loss(composed: Any, folder: Path, kind: str, settings: str, *more: str) -> float:
    experiment = composed("peft", *words(kind, settings), *more)
    record = run_experiment(experiment, folder, "autolora-bench ...", None)
    assert record.error is None, record.error["traceback"]
    return float(record.history[0].train_loss or 0)


@pytest.mark.parametrize(
    ("kind", "without", "weighted"),
    [
        ("LORA", "kasa_config: {beta: 0.0, gamma: 0.0}", "kasa_config: {beta: 0.0, gamma: 10.0}"),
        (
            "ADALORA",
            "init_r: 6, target_r: 4, orth_reg_weight: 0.0",
            "init_r: 6, target_r: 4, orth_reg_weight: 10.0",
        ),
        (
            "LORA",
            "monteclora_config: {buffer_size: 9, kl_loss_weight: 0.0, use_entropy: false}",
            "monteclora_config: {buffer_size: 9, kl_loss_weight: 1.0, use_entropy: false}",
        ),
    ],
)
@pytest.mark.parametrize("more", [[], ["train.label_smoothing=0.1", "train.accumulation=2"]])
@pytest.mark.sample(one_in=6)
def test_a_loss_of_its_own_is_in_the_loss(
    kind: str, without: str, weighted: str, more: list[str], composed: Any, tmp_path: Path
) -> None:
    plain = first_loss(composed, tmp_path / "plain", kind, without, *more)
    added = first_loss(composed, tmp_path / "added", kind, weighted, *more)
    assert added > plain + 0.05


def test_the_losses_are_pefts(tiny_encoder: Path) -> None:
    base = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", target_modules=["query"], kasa_config=peft.KasaConfig(beta=0.3, gamma=0.7)
    )
    model: Any = peft.get_peft_model(base, config)
    penalty = OwnLoss(model).penalty()
    assert penalty is not None
    torch.testing.assert_close(penalty, model.base_model._get_kasa_loss())
    plain: Any = peft.get_peft_model(
        AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2),
        peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"]),
    )
    assert OwnLoss(plain).penalty() is None


def test_adamss_trains_as_many_subspaces_as_it_was_told(composed: Any, trained: Any) -> None:
    settings = f"{ADAPTIVE}, init_warmup: 1, final_warmup: 4, mask_interval: 2"
    run = trained("peft", *words("ADAMSS", settings))
    [details] = [phase.details for phase in run.record.phases if phase.name == "finetune"]
    assert details["allocations"] == 2
    assert details["trained_to_the_end"] == 3 < details["subspaces"]


def test_a_subspace_that_is_switched_off_stays_as_it_is(tiny_encoder: Path) -> None:
    """Beside PEFT's own way, a weight that requires no gradient."""
    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2)
    options = {"use_asa": True, "r": 16, "num_subspaces": 2, "asa_target_subspaces": 3}
    config = peft.AdamssConfig(
        task_type="SEQ_CLS",
        target_modules=["query", "value"],
        init_warmup=0,
        final_warmup=4,
        mask_interval=1,
        **options,
    )
    model: Any = peft.get_peft_model(base, config)
    schedule = SubspaceSchedule(model)
    state, optimizer = type("State", (), {"global_step": 3})(), torch.optim.AdamW(model.parameters(), lr=0.1)
    nothing: Any = None
    batch = {"input_ids": torch.randint(5, 50, (4, 6)), "labels": torch.tensor([0, 1, 0, 1])}
    frozen: set[str] = set()
    for _ in range(3):
        model(**batch).loss.backward()
        schedule.on_pre_optimizer_step(nothing, state, nothing)
        before = {name: weight.detach().clone() for name, weight in schedule._subspaces().items()}
        optimizer.step()
        frozen = set(schedule.frozen)
        schedule.on_optimizer_step(nothing, state, nothing)
        optimizer.zero_grad()
    now = schedule._subspaces()
    assert frozen
    assert all(torch.equal(before[name], now[name]) for name in frozen)
    assert not all(torch.equal(before[name], now[name]) for name in set(now) - frozen)
    assert all(weight.requires_grad for weight in now.values())


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("ADAMSS", ADAPTIVE, "AdaMSS allocates nothing in 8 steps"),
        (
            "ADALORA",
            "init_r: 6, target_r: 4, tinit: 5, tfinal: 5",
            "AdaLoRA has no step to allocate ranks in",
        ),
    ],
)
def test_a_training_without_an_allocation_fails_before_its_first_step(
    kind: str, settings: str, said: str, composed: Any, tmp_path: Path
) -> None:
    record = run_experiment(composed("peft", *words(kind, settings)), tmp_path, "autolora-bench ...", None)
    assert record.status is Status.failed
    assert record.error is not None
    assert said in record.error["message"]
    assert not record.history
