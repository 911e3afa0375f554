"""The search of rates as a Trainer: planted layers that need different rates, resuming, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import spearmanr
from torch import Tensor, nn
from transformers import TrainingArguments, set_seed

from autolora_bench.config.rates import Also, Granularity
from autolora_bench.errors import UserError
from autolora_bench.search.layers import lora_factors, lora_layers
from autolora_bench.search.rate_trainer import RateOptions, RateTrainer
from autolora_bench.search.rates import LayerRates, RateGradient, SharedMultiples

SIZES = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
"""How far the teacher's layers are from the student's: Adam goes as far as its rate, so far layers need high rates."""
WIDTH = 6


class Parallel(nn.Module):
    """y = all layers' outputs side by side; the loss weighs every layer alike, whatever its teacher's size."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False) for _ in SIZES])

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        found = torch.stack([layer(x) for layer in self.layers], dim=1)
        error = (found - y).square().mean(dim=(0, 2)) / torch.tensor(SIZES).square()
        return {"loss": error.sum()}


def rows(count: int, seed: int, model: Parallel) -> list[dict[str, Tensor]]:
    teacher = torch.Generator().manual_seed(99)
    changes = [size * torch.outer(*torch.randn(2, WIDTH, generator=teacher)) / WIDTH for size in SIZES]
    x = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        y = torch.stack([layer(x) + x @ c.T for layer, c in zip(model.layers, changes, strict=True)], dim=1)
    return [{"x": a, "y": b} for a, b in zip(x, y, strict=True)]


def search(folder: Path, granularity: Granularity = Granularity.layer, steps: int = 8, **options: Any) -> Any:
    more = {
        n: options.pop(n)
        for n in ("save_strategy", "save_steps", "weight_decay", "eval_strategy", "eval_steps")
        if n in options
    }
    also, scheduler = options.pop("also", ()), options.pop("scheduler", "constant")
    set_seed(0)
    base = Parallel()
    data = rows(64, 1, base), rows(64, 2, base)
    targets = [f"layers.{i}" for i in range(len(SIZES))]
    model = get_peft_model(base, LoraConfig(r=2, lora_alpha=2, target_modules=targets))
    arguments = TrainingArguments(
        output_dir=str(folder),
        **{"save_strategy": "no", **more},
        max_steps=steps,
        per_device_train_batch_size=16,
        learning_rate=1e-2,
        lr_scheduler_type=scheduler,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["y"],
    )
    return RateTrainer(
        model=model,
        args=arguments,
        rates=LayerRates(model, granularity, 30.0),
        shared=SharedMultiples(model, also, 30.0),
        options=RateOptions(**options),
        train_dataset=data[0],
        validation_dataset=data[1],
        eval_dataset=data[1],
    )


def test_layers_that_need_higher_rates_get_them(tmp_path: Path) -> None:
    trainer = search(tmp_path, steps=80, learning_rate=0.04)
    trainer.train()
    found = trainer.rates.multiples().flatten().tolist()
    assert spearmanr(found, SIZES).statistic > 0.9
    assert found[-1] > 2 * found[0]


@pytest.mark.parametrize(("exact", "inner_steps"), [(False, 1), (False, 3), (True, 3)])
@pytest.mark.parametrize("stopped", [3, 4, 5])
@pytest.mark.sample(keep=("5-False-3",))
def test_a_resumed_search_equals_the_uninterrupted_one(tmp_path, exact, inner_steps, stopped):
    options = {"exact": exact, "inner_steps": inner_steps, "granularity": Granularity.factor, "steps": 7}
    whole = search(tmp_path, **options, save_strategy="steps", save_steps=stopped)
    whole.train()
    resumed = search(tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stopped}"))
    assert torch.equal(resumed.rates.log, whole.rates.log)
    assert whole.rates.log.abs().min() > 0
    pairs = zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("stopped", [4, 5])
@pytest.mark.sample(keep=("5",))
def test_a_resumed_search_of_decay_and_alpha_equals_the_uninterrupted_one(tmp_path, stopped):
    options = {"exact": True, "inner_steps": 2, "steps": 8, "also": [*Also], "weight_decay": 0.1}
    whole = search(tmp_path, **options, save_strategy="steps", save_steps=stopped)
    whole.train()
    resumed = search(tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stopped}"))
    assert torch.equal(resumed.shared.log, whole.shared.log)
    assert whole.shared.log.abs().min() > 0
    pairs = zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    for trainer in (whole, resumed):
        scales = [layer.scaling["default"] for layer in lora_layers(trainer.model).values()]
        assert scales == [pytest.approx(trainer.shared.of(Also.alpha))] * len(SIZES)
        decays = {g["weight_decay"] for g in trainer._torch_optimizer().param_groups if "rate" in g}
        assert len(decays) == 1
        assert decays.pop() == pytest.approx(0.1, rel=0.2)
    other = search(tmp_path, **{**options, "also": [Also.alpha]})
    with pytest.raises(UserError, match="is of a search that learnt something else"):
        other.load_outer(str(tmp_path / f"checkpoint-{stopped}"))


@pytest.mark.parametrize(("start", "rises"), [(0.05, True), (40.0, False)])
@pytest.mark.sample(keep=("40.0",))
def test_a_scale_that_is_far_too_small_rises_and_one_that_is_too_large_falls(tmp_path, start, rises):
    trainer = search(tmp_path, steps=40, learning_rate=0.05, also=[Also.alpha])
    for layer in lora_layers(trainer.model).values():
        layer.scaling["default"] = start
    trainer.shared = SharedMultiples(trainer.model, [Also.alpha], 30.0)
    trainer._gradient = RateGradient(trainer.rates.members, False, trainer.shared)
    trainer.train()
    assert (trainer.shared.of(Also.alpha) > 1) is rises


def test_every_rate_is_the_one_that_its_weights_moved_by(tmp_path: Path) -> None:
    """Adam's first step is the rate, whatever the gradient: B moves by it, where it moves."""
    trainer = search(tmp_path, steps=1)
    trainer.rates.log.data = torch.linspace(-1, 1, len(SIZES))[:, None]
    expected = 1e-2 * trainer.rates.multiples().flatten()
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    moved = [
        (p - before[n]).detach().abs().max() for n, p in trainer.model.named_parameters() if "lora_B" in n
    ]
    torch.testing.assert_close(torch.stack(moved), expected, rtol=1e-3, atol=0)


def test_rates_stay_within_the_limit(tmp_path: Path) -> None:
    trainer = search(tmp_path, steps=8, learning_rate=5.0)
    trainer.train()
    found = trainer.rates.multiples()
    assert found.max() <= 30 * (1 + 1e-6)
    assert found.min() >= (1 - 1e-6) / 30


def test_frozen_weights_have_no_rate_to_learn(tmp_path: Path) -> None:
    model = search(tmp_path).model
    for a, _ in lora_factors(model):
        a.requires_grad_(False)
    assert LayerRates(model, Granularity.layer).log.shape == (len(SIZES), 1)
    with pytest.raises(UserError, match="a rate is of frozen weights alone"):
        LayerRates(model, Granularity.factor)
    lora_factors(model)[-1][1].requires_grad_(False)
    with pytest.raises(UserError, match="a rate is of frozen weights alone"):
        LayerRates(model, Granularity.layer)
    with pytest.raises(UserError, match="the gradient of lora_B, which a layer has frozen"):
        SharedMultiples(model, [Also.alpha])


def test_a_default_precision_of_16_bits_is_not_that_of_the_rates(tmp_path: Path, monkeypatch: Any) -> None:
    plain = search(tmp_path / "plain", also=[*Also])
    plain.train()
    coarse = search(tmp_path / "coarse", also=[*Also])
    torch.set_default_dtype(torch.bfloat16)
    try:
        coarse.rates = LayerRates(coarse.model, Granularity.layer, 30.0)
        coarse.shared = SharedMultiples(coarse.model, [*Also], 30.0)
    finally:
        torch.set_default_dtype(torch.float32)
    coarse._gradient = RateGradient(coarse.rates.members, False, coarse.shared)
    coarse.train()
    assert torch.equal(coarse.rates.log, plain.rates.log)
    assert torch.equal(coarse.shared.log, plain.shared.log)


def test_a_search_in_which_no_rate_would_move_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="inner_steps=9 in a search of 8 steps: the learning rates would never move"
    ):
        search(tmp_path, inner_steps=9).train()


def test_a_schedule_that_waits_multiplies_no_rate_twice(tmp_path: Path) -> None:
    """transformers changes the rate for a plateau at evaluations alone."""
    trainer = search(tmp_path, steps=6, scheduler="reduce_lr_on_plateau", eval_strategy="steps", eval_steps=3)
    trainer.train()
    rates = [group["lr"] for group in trainer.optimizer.param_groups if "rate" in group]
    assert rates == [1e-2] * len(rates)
    assert not torch.allclose(trainer.outer, torch.ones_like(trainer.outer))
