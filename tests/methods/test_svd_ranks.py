"""Ranks from a trained LoRA's singular values: the decomposition, the cut over all layers, and the whole method."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from autolora_bench.config.allocators import LoraSvdRanksConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.allocators.svd_ranks import (
    SvdRanks,
    product_singular_values,
    update_singular_values,
)

SHAPES = [(12, 20), (20, 12), (5, 30)]
"""Outputs and inputs of three layers, the last with fewer outputs than LoRA has components."""


def config(**more: Any) -> LoraSvdRanksConfig:
    return LoraSvdRanksConfig(name="x", title="X", learning_rate=1.0, search_epochs=1, **more)


@pytest.fixture
def model() -> Any:
    """LoRA of rank 8 on three layers, its factors drawn."""
    torch.manual_seed(0)
    plain = nn.ModuleDict({f"layer{i}": nn.Linear(d, o) for i, (o, d) in enumerate(SHAPES)})
    found = get_peft_model(plain, LoraConfig(r=8, lora_alpha=12, target_modules=list(plain)))
    for name, weight in found.named_parameters():
        if "lora_" in name:
            nn.init.normal_(weight)
    return found


def by_numpy(model: Any) -> list[np.ndarray]:
    """Singular values of every whole update, as a full decomposition gives them."""
    weights = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    return [
        np.linalg.svd(
            12
            / 8
            * weights[next(n for n in weights if f"layer{i}.lora_B" in n)]
            @ weights[next(n for n in weights if f"layer{i}.lora_A" in n)],
            compute_uv=False,
        )
        for i in range(len(SHAPES))
    ]


def test_values_are_those_of_the_whole_update(model: Any) -> None:
    found = update_singular_values(model).numpy()
    assert found.shape == (3, 8)
    for row, expected in zip(found, by_numpy(model), strict=True):
        most = min(8, len(expected))
        np.testing.assert_allclose(row[:most], expected[:most], rtol=1e-12)
        np.testing.assert_array_equal(row[most:], 0)


def test_kept_are_the_largest_over_all_layers(model: Any) -> None:
    budget = Budget.of(config(total=9), ["a", "b", "c"])
    pooled = np.concatenate(by_numpy(model))
    level = np.sort(pooled)[-9]
    expected = tuple(int((values >= level).sum()) for values in by_numpy(model))
    found = SvdRanks(model, budget).found()
    assert found.ranks.ranks == expected
    assert found.ranks.total == 9
    assert len(set(expected)) > 1


def test_a_product_of_known_singular_values() -> None:
    generator = torch.Generator().manual_seed(1)
    left, _ = torch.linalg.qr(torch.randn(30, 4, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(50, 4, generator=generator, dtype=torch.float64))
    values = torch.tensor([3.0, 1e-3, 1e-9, 0.0], dtype=torch.float64)
    mixed = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    b, a = left * values @ mixed, torch.linalg.solve(mixed, right.T)
    torch.testing.assert_close(product_singular_values(b, a), values, rtol=1e-6, atol=1e-14)


def test_a_layer_may_lose_everything_or_be_kept_by_the_minimum() -> None:
    values = torch.tensor([[5.0, 4.0, 3.0], [0.3, 0.2, 0.1]])
    modules = ["a", "b"]
    assert Budget.of(config(total=3, maximum_rank=3), modules).largest(values).ranks == (3, 0)
    assert Budget.of(config(total=3, maximum_rank=3, minimum_rank=1), modules).largest(values).ranks == (2, 1)
    assert Budget.of(config(total=3, maximum_rank=2), modules).largest(values).ranks == (2, 1)


def test_equal_values_fill_layers_evenly() -> None:
    budget = Budget.of(config(total=7), ["a", "b", "c"])
    assert budget.largest(torch.zeros(3, 8)).ranks == (3, 2, 2)


def test_the_budget_is_loras_unless_said(composed: Any) -> None:
    assert Budget.of(config(), ["m"] * 12).total == 48
    assert Budget.of(config(mean_rank=2.5), ["m"] * 3).total == 8
    with pytest.raises(UserError, match="total rank of 25 over 3 layers"):
        Budget.of(config(total=25), ["m"] * 3)
    with pytest.raises(UserError, match="total rank of 0"):
        Budget.of(config(mean_rank=0.1), ["m"] * 3)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["total=9", "mean_rank=2"], "both give the budget"),
        (["total=0"], "total=0"),
        (["mean_rank=0"], "mean_rank=0"),
        (["mean_rank=9"], "mean_rank=9 is not between"),
        (["mean_rank=8"], "mean_rank=8 with method.maximum_rank=8, which gives every layer that rank"),
        (["minimum_rank=-1"], "minimum_rank=-1"),
        (["minimum_rank=9"], "minimum_rank=9"),
        (["maximum_rank=0"], "maximum_rank=0"),
        (["rank=8"], "rank=8 has no effect"),
        (["search_epochs=0"], "search_epochs=0"),
        (["search_learning_rate=0"], "search_learning_rate=0"),
    ],
)
@pytest.mark.sample(one_in=4)
def test_contradictions_are_refused(words: list[str], match: str, composed: Any) -> None:
    with pytest.raises(UserError, match=match):
        composed("lora_svd_ranks", *(f"method.{word}" for word in words))


def test_the_record_has_ranks_and_the_cost_of_both_trainings(trained: Any) -> None:
    run = trained("lora_svd_ranks")
    search, retrain = run.record.phase("search"), run.record.phase("retrain")
    assert search.details["total_rank"] == sum(layer.rank for layer in run.record.ranks) == 16
    assert search.steps == retrain.steps == 18
    assert search.examples == retrain.examples == 3 * 48
    assert search.train_seconds > 0
    assert {evaluation.phase for evaluation in run.record.history} == {"retrain"}
    scores = json.loads((run.folder / "search/scores.json").read_text())
    assert [len(values) for values in scores.values()] == [8] * 4
