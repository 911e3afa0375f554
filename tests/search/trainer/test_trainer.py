"""The search inside Hugging Face's Trainer, end to end on a toy task."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, set_seed

from autolora_bench.config.search import SEVERAL_STEPS, SelectionOptimizer
from autolora_bench.errors import UserError
from autolora_bench.search import (
    ESTIMATORS,
    SearchOptions,
    attach,
    lora_factors,
    selection_for,
)
from autolora_bench.search.hypergradient import FirstOrder


def test_weights_move_as_in_a_plain_trainer(runs, toys, tmp_path):
    """Without dropout and with variables that stand still, the search's weights are those of `Trainer`."""
    still = runs.search(tmp_path / "a", {"selection_learning_rate": 0.0}, {"dropout": 0.0}, weight_decay=0.1)
    still.train()
    network = toys.model(trained=False, dropout=0.0).float()
    attach(network, selection_for(network))
    args = runs.arguments(tmp_path / "b", weight_decay=0.1)
    set_seed(args.seed)
    plain = Trainer(model=network, args=args, train_dataset=runs.task(1))
    plain.train()
    for a, b in zip(still.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_loss_falls_and_progress_is_logged(runs, tmp_path):
    trainer = runs.search(
        tmp_path, max_steps=40, logging_steps=10, learning_rate=3e-2, lr_scheduler_type="constant"
    )
    trainer.train()
    logs = [x for x in trainer.state.log_history if "loss" in x]
    assert logs[-1]["loss"] < 0.5 * logs[0]["loss"]
    assert all(1 <= x["mean_rank"] <= 3 for x in logs)
    assert trainer.allocation().mean == logs[-1]["mean_rank"]


@pytest.mark.parametrize("rule", ["reciprocal", "mean"])
@pytest.mark.sample(one_in=2)
def test_useful_component_is_kept(runs, toys, tmp_path, rule):
    """One component per layer is trained, the others are noise; the weights then stand still."""
    first = runs.search(
        tmp_path / "a", {"selection_learning_rate": 0.0}, {"r": 1, "dropout": 0.0}, max_steps=40
    )
    first.train()
    network = toys.model(r=4, lora_alpha=16, trained=False, dropout=0.0).float()
    planted = {n: p for n, p in first.model.named_parameters() if "modules_to_save" in n}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in planted:
                parameter.copy_(planted[name])
        for (a, b), (useful_a, useful_b) in zip(
            lora_factors(network), lora_factors(first.model), strict=True
        ):
            b.normal_(std=float(useful_b.std()))
            a[2], b[:, 2] = useful_a[0], useful_b[:, 0]
    trainer = runs.search(
        tmp_path / "b",
        {"selection_learning_rate": 5e-2, "rule": rule},
        network,
        max_steps=25,
        learning_rate=0.0,
    )
    trainer.train()
    alpha = trainer.selection.alpha().detach()
    assert (alpha.argmax(dim=1) == 2).all()
    assert all(row[2] for row in trainer.allocation().kept)


def test_interval(runs, tmp_path):
    trainer = runs.search(tmp_path, {"interval": 3, "diagnose_steps": (1,)}, max_steps=7)
    trainer.train()
    alphas = {row["step"]: row["alpha"] for row in runs.trajectory(trainer)}
    changed = [step for step in range(1, 8) if alphas[step] != alphas[step - 1]]
    assert changed == [3, 6]
    assert [x["step"] for x in trainer.state.log_history if "hypergradient_cosine" in x] == [3]


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"released", "reptile"}))
@pytest.mark.sample(keep=("closed_form",))
def test_accumulated_micro_batches_equal_one_batch(runs, tmp_path, name):
    betas = []
    for size, steps in ((4, 1), (2, 2)):
        trainer = runs.search(
            tmp_path / str(size),
            {"estimator": name, "validation_batch_size": 4},
            {"dropout": 0.0},
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
        )
        trainer.model_accepts_loss_kwargs = False
        trainer.train()
        betas.append(trainer.selection.beta.detach())
    torch.testing.assert_close(*betas, rtol=1e-3, atol=1e-4)


def test_selection_has_its_own_rate(runs, tmp_path):
    """Warm-up: the weights first move in step 2, at a quarter of their rate; beta at its full one if
    constant."""
    moves = []
    for scheduled in (False, True):
        trainer = runs.search(tmp_path / str(scheduled), {"scheduled": scheduled}, warmup_steps=4)
        trainer.train()
        alpha = torch.tensor([row["alpha"] for row in runs.trajectory(trainer)[:3]])
        torch.testing.assert_close(alpha[1], alpha[0])
        moves.append((alpha[2] - alpha[0]).abs().max())
    assert moves[0] / moves[1] == pytest.approx(4, rel=0.02)


def test_selection_has_its_own_betas_and_no_decay(runs, tmp_path):
    for betas, expected in ((None, (0.9, 0.999)), ((0.5, 0.999), (0.5, 0.999))):
        trainer = runs.search(
            tmp_path / str(betas), {"selection_betas": betas}, weight_decay=0.1, max_steps=1
        )
        trainer.train()
        group = trainer.optimizer.param_groups[-1]
        assert [p is trainer.selection.beta for p in group["params"]] == [True]
        assert (group["betas"], group["weight_decay"]) == (expected, 0.0)


@pytest.mark.parametrize("constraint", ["softmax", "topk"])
@pytest.mark.sample(keep=("topk",))
def test_mirror_descent_moves_along_the_gradient_of_alpha(runs, tmp_path, monkeypatch, constraint):
    """Every alpha of the trajectory follows from the one before and the estimator's own total, in closed form."""
    totals = []
    terms = FirstOrder.terms

    def watched(self, step):
        found = terms(self, step)
        totals.append(found.total.clone())
        return found

    monkeypatch.setattr(FirstOrder, "terms", watched)
    options = {
        "selection_optimizer": SelectionOptimizer.mirror_descent,
        "selection_learning_rate": 3.0,
        "estimator": "first_order",
    }
    variables = {"constraint": constraint, "budget": 5.0 if constraint == "topk" else None}
    trainer = runs.search(tmp_path, options, {"r": 4}, selection=variables)
    trainer.train()
    alphas = [torch.tensor(row["alpha"]).double() for row in runs.trajectory(trainer)]
    assert len(alphas) == len(totals) + 1 == 7
    for before, after, gradient in zip(alphas, alphas[1:], totals, strict=False):
        if constraint == "softmax":
            moved = before * (-3.0 * gradient.double()).exp()
            torch.testing.assert_close(after, moved / moved.sum(dim=1, keepdim=True), rtol=1e-5, atol=1e-7)
        else:
            odds = (after / (1 - after)).log() - (before / (1 - before)).log() + 3.0 * gradient.double()
            torch.testing.assert_close(odds, odds[:1, :1].expand_as(odds), rtol=0, atol=1e-5)
            assert float(after.sum()) == pytest.approx(5.0, rel=1e-6)


def test_trajectory_is_thinned(runs, tmp_path):
    trainer = runs.search(tmp_path, {"points": 3}, max_steps=7)
    trainer.train()
    rows = runs.trajectory(trainer)
    assert [row["step"] for row in rows] == [0, 2, 4, 6, 7]
    assert rows[0]["alpha"] == torch.full((4, 3), 1 / 3).tolist()
    assert rows[-1]["alpha"] == trainer.selection.alpha().tolist()


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({"estimator": "exact"}, {}, "unknown hypergradient"),
        ({"estimator": "forward_difference"}, {"bf16": True}, "too coarse in 16 bits"),
        ({"estimator": "unrolled"}, {"gradient_checkpointing": True}, "gradient checkpointing"),
    ],
)
def test_impossible_combinations_are_refused(runs, tmp_path, options, changes, message):
    with pytest.raises(UserError, match=message):
        runs.search(tmp_path, options, **changes)


def test_bad_options_are_refused():
    with pytest.raises(UserError, match="interval=0"):
        SearchOptions(interval=0)
    with pytest.raises(UserError, match="unknown rule"):
        SearchOptions(rule="median")


def test_weights_that_peft_would_not_save_are_refused(runs, toys, tmp_path):
    network = toys.model()
    network.get_base_model().bert.pooler.dense.weight.requires_grad_(True)
    with pytest.raises(UserError, match=r"pooler.dense.weight is trained but PEFT would not save it"):
        runs.search(tmp_path, model=network)


def test_checkpoint_of_another_search_is_refused(runs, tmp_path):
    runs.search(tmp_path, save_strategy="steps", save_steps=3).train()
    other = runs.search(tmp_path, model={"layers": 3})
    with pytest.raises((UserError, RuntimeError)):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))


@pytest.mark.parametrize("name", ["first_order", "closed_form", "unrolled", "central_difference"])
@pytest.mark.sample(keep=("closed_form",))
def test_bf16(runs, tmp_path, name):
    trainer = runs.search(tmp_path, {"estimator": name, "diagnose_steps": (2, 5)}, bf16=True)
    trainer.train()
    found = [x["hypergradient_cosine"] for x in trainer.state.log_history if "hypergradient_cosine" in x]
    assert len(found) == 2
    assert min(found) > 0.9
    assert trainer.selection.beta.dtype == torch.float32


@pytest.mark.parametrize("name", ["closed_form", "unrolled", "forward_difference"])
@pytest.mark.sample(keep=("closed_form",))
def test_language_model_with_label_smoothing(runs, tmp_path, name):
    config = GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=32)
    lora = LoraConfig(task_type="CAUSAL_LM", r=3, target_modules=["c_attn"], fan_in_fan_out=True)
    torch.manual_seed(0)
    network = get_peft_model(GPT2LMHeadModel(config), lora)
    trainer = runs.search(
        tmp_path,
        {"estimator": name, "diagnose_steps": (3, 6)},
        network,
        ([{**row, "labels": row["input_ids"]} for row in runs.task(seed)] for seed in (1, 2)),
        label_smoothing_factor=0.1,
        gradient_accumulation_steps=2,
    )
    trainer.train()
    found = [x["hypergradient_cosine"] for x in trainer.state.log_history if "hypergradient_cosine" in x]
    assert len(found) == 2
    assert min(found) > (0.98 if name == "closed_form" else 0.9999)


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"first_order", "reptile"}))
@pytest.mark.sample(keep=("closed_form",))
def test_the_passes_of_an_estimator_are_those_that_run(name, runs, tmp_path):
    """Against torch's own count of operations; what is small beside the model's layers is in the tolerance."""

    def operations(estimator: str) -> int:
        options = {"estimator": estimator}
        trainer = runs.search(tmp_path / estimator, options, model={"trained": True}, max_steps=2)
        with FlopCounterMode(display=False) as counter:
            trainer.train()
        return counter.get_total_flops()

    passes = (2 + ESTIMATORS[name].extra_passes) / 2
    assert operations(name) / operations("first_order") == pytest.approx(passes, rel=0.15)


@pytest.mark.parametrize("interval", [7, 1000])
@pytest.mark.sample(keep=("7",))
def test_a_search_without_a_selection_step_is_refused(interval, runs, tmp_path):
    """Six steps: the variables would stay as they were drawn."""
    with pytest.raises(UserError, match=f"interval={interval} in a search of 6 steps"):
        runs.search(tmp_path, {"interval": interval}).train()
    with pytest.raises(UserError, match=f"inner_steps={interval} in a search of 6 steps"):
        runs.search(tmp_path, {"inner_steps": interval}).train()
    last = runs.search(tmp_path / "last", {"interval": 6})
    last.train()
    assert not torch.equal(last.selection.beta, torch.ones_like(last.selection.beta))


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {e.name for e in SEVERAL_STEPS}))
def test_an_estimator_of_one_step_refuses_several(name, runs, tmp_path):
    with pytest.raises(UserError, match=f"estimator={name} with inner_steps=2"):
        runs.search(tmp_path, {"estimator": name, "inner_steps": 2})


def test_reptile_needs_a_path(runs, tmp_path):
    with pytest.raises(UserError, match="one step is no path"):
        runs.search(tmp_path, {"estimator": "reptile", "interval": 2})
