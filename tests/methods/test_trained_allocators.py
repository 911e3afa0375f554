"""Allocators that train: each step against plain numpy or a second way to the same number, and their budgets."""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from autolora_bench.config.allocators import (
    DyLoraConfig,
    IncreLoraConfig,
    L1raConfig,
    SoraConfig,
    TrainedAllocatorConfig,
)
from autolora_bench.errors import UserError
from autolora_bench.methods.allocators.budget import Budget
from autolora_bench.methods.allocators.dylora import DyLora, prefix_gains
from autolora_bench.methods.allocators.increlora import IncreLora
from autolora_bench.methods.allocators.l1ra import L1ra, reassigned
from autolora_bench.methods.allocators.sora import Sora
from autolora_bench.methods.allocators.trained import Allocator
from autolora_bench.search.layers import lora_factors, lora_layers

SHAPES = {"first": (10, 12), "second": (6, 10), "third": (5, 6)}
"""Outputs and inputs of three layers in a row."""
ALPHA, K = 12, 8


class Chain(nn.Module):
    """Three linear layers with tanh between them."""

    def __init__(self) -> None:
        super().__init__()
        for name, (outputs, inputs) in SHAPES.items():
            self.add_module(name, nn.Linear(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        layers = dict(self.named_children())
        return layers["third"](torch.tanh(layers["second"](torch.tanh(layers["first"](x)))))


def settings(kind: type[TrainedAllocatorConfig], **more: Any) -> Any:
    return kind(name="x", title="X", learning_rate=1.0, search_epochs=1, alpha=ALPHA, **more)


def made(kind: Any, config: Any, seed: int = 0) -> tuple[Any, Any]:
    """A chain with LoRA of rank 8, its factors drawn, and the allocator on it."""
    torch.manual_seed(seed)
    model = get_peft_model(Chain(), LoraConfig(r=K, lora_alpha=ALPHA, target_modules=list(SHAPES)))
    for a, b in lora_factors(model):
        nn.init.normal_(a, std=0.3)
        nn.init.normal_(b, std=0.3)
    return model, kind(config, model, Budget.of(config, list(SHAPES)))


def step(allocator: Allocator, number: int, steps: int = 10, rate: float = 0.1) -> Any:
    """Everything that the Trainer tells a callback in optimizer step `number`, counted from 1."""
    args, state = (
        SimpleNamespace(seed=7, world_size=1),
        SimpleNamespace(global_step=number - 1, max_steps=steps),
    )
    groups = [{"lr": 5.0}, {"lr": rate, "gates": True}, {"lr": 9.0, "head": True}]
    optimizer = SimpleNamespace(param_groups=groups, state={"moments": 1})
    allocator.on_pre_optimizer_step(args, state, None, optimizer=optimizer)  # type: ignore[arg-type]
    allocator.on_optimizer_step(args, state, None, optimizer=optimizer)  # type: ignore[arg-type]
    return optimizer


def updates(model: Any, factors: Tensor | None = None) -> dict[str, np.ndarray]:
    """Layer -> alpha / K B diag(factors) A."""
    weights = factors.detach().double().numpy() if factors is not None else np.ones((3, K))
    return {
        name: ALPHA / K * (b.detach().double().numpy() * f) @ a.detach().double().numpy()
        for name, (a, b), f in zip(SHAPES, lora_factors(model), weights, strict=True)
    }


def by_hand(model: Any, x: Tensor, deltas: dict[str, np.ndarray]) -> np.ndarray:
    """The chain's outputs with these updates, in numpy."""
    hidden = x.double().numpy()
    for name, layer in lora_layers(model).items():
        base = layer.get_base_layer()
        weight = base.weight.detach().double().numpy() + deltas[name]
        hidden = hidden @ weight.T + base.bias.detach().double().numpy()
        hidden = hidden if name == "third" else np.tanh(hidden)
    return hidden


X = torch.randn(9, 12, generator=torch.Generator().manual_seed(3))


# SoRA


def test_sora_weighs_components_by_its_gates() -> None:
    model, allocator = made(Sora, settings(SoraConfig, mean_rank=4.0))
    gates = allocator.gates()
    assert gates.shape == (3, K)
    assert gates.requires_grad
    expected = by_hand(model, X, updates(model, gates))
    np.testing.assert_allclose(model(X).detach().numpy(), expected, rtol=0, atol=1e-5)


def test_sora_shrinks_gates_by_the_paper_s_threshold() -> None:
    _, allocator = made(Sora, settings(SoraConfig, l1=2.0))
    before = allocator.gates().detach().clone().numpy()
    step(allocator, 1, rate=0.3)
    expected = np.sign(before) * np.maximum(np.abs(before) - 0.3 * 2.0, 0)
    np.testing.assert_allclose(allocator.gates().detach().numpy(), expected, atol=1e-7)
    assert 0 < (expected == 0).sum() < expected.size
    assert allocator.details() == {"gates_not_zero": int((expected != 0).sum())}


def test_sora_keeps_the_largest_gates_whatever_their_sign() -> None:
    _, allocator = made(Sora, settings(SoraConfig, total=7))
    sizes = allocator.gates().detach().abs().numpy()
    level = np.sort(sizes.ravel())[-7]
    assert allocator.found().ranks.ranks == tuple((sizes >= level).sum(axis=1))


def test_sora_without_gates_left_gives_even_ranks() -> None:
    _, allocator = made(Sora, settings(SoraConfig, total=7, l1=1e3))
    step(allocator, 1)
    assert allocator.found().ranks.ranks == (3, 2, 2)


# L1RA


def authors(gates: list[list[float]], below: float) -> list[int]:
    """Ranks after the authors' rule (L1RAModel.update_ranks), on lists of any length."""
    smallest = [min(layer) for layer in gates]
    pruned, ranks, spare = set(), [], 0
    for index, layer in enumerate(gates):
        gone = [g for g in layer if g < below]
        if gone:
            pruned.add(index)
        if len(gone) == len(layer):
            gone = gone[:-1]
        spare += len(gone)
        ranks.append(len(layer) - len(gone))
    order = sorted(range(len(gates)), key=lambda i: -smallest[i])
    takers = [i for i in order if i not in pruned]
    for number in range(spare if takers else 0):
        ranks[takers[number % len(takers)]] += 1
    return ranks


def table(gates: list[list[float]], components: int) -> tuple[Tensor, Tensor]:
    values = torch.zeros(len(gates), components)
    active = torch.zeros(len(gates), components, dtype=torch.bool)
    for index, layer in enumerate(gates):
        values[index, : len(layer)], active[index, : len(layer)] = torch.tensor(layer), True
    return values, active


def test_l1ra_moves_ranks_as_the_authors_code_does() -> None:
    generator = np.random.default_rng(0)
    compared = 0
    for _ in range(300):
        gates = [
            np.round(generator.uniform(0, 1, generator.integers(1, 5)) ** 2, 2).tolist() for _ in range(5)
        ]
        values, active = table(gates, 30)
        kept, new = reassigned(values, active, 0.05, 1)
        assert not (kept & new).any()
        assert int((kept | new).sum()) == int(active.sum())
        expected = authors(gates, 0.05)
        if sum(expected) == int(active.sum()) and len({min(layer) for layer in gates}) == 5:
            compared += 1
            assert (kept | new).sum(dim=1).tolist() == expected
    assert compared > 100


def test_l1ra_respects_the_largest_rank_and_never_loses_one() -> None:
    values, active = table([[0.9, 0.9, 0.9], [0.0, 0.0, 0.0], [0.8, 0.0]], 4)
    kept, new = reassigned(values, active, 0.05, 1)
    assert kept.sum(dim=1).tolist() == [3, 1, 1]
    assert (kept | new).sum(dim=1).tolist() == [4, 2, 2], "one to the intact layer, then in turns"


def test_l1ra_decays_gates_and_prunes_when_due() -> None:
    config = settings(L1raConfig, total=6, l1=0.5, gate_learning_rate=0.2, interval_share=0.2)
    model, allocator = made(L1ra, config)
    assert allocator.active.sum(dim=1).tolist() == [2, 2, 2]
    with torch.no_grad():
        allocator.gates().copy_(
            torch.tensor([[0.9, 1.4], [0.05, 0.7], [0.5, 0.6]]) @ torch.eye(2, K) * allocator.active
        )
    allocator.on_train_begin(None, SimpleNamespace(max_steps=10), None)
    expected = np.clip(np.array([[0.9, 1.4], [0.05, 0.7], [0.5, 0.6]]) - 0.1, 0, 1)
    optimizer = step(allocator, 1)
    np.testing.assert_allclose(allocator.gates().detach().numpy()[:, :2], expected, atol=1e-7)
    assert optimizer.param_groups[1]["lr"] == 0.2, "constant, whatever the schedule"
    assert optimizer.state, "nothing was pruned"
    optimizer = step(allocator, 2)
    assert allocator.active.sum(dim=1).tolist() == [3, 1, 2]
    assert not optimizer.state, "the optimizer starts afresh"
    gates = allocator.gates().detach()
    assert gates[0, 2] == 1
    assert (gates[~allocator.active] == 0).all()
    assert (lora_factors(model)[0][1][:, 2] == 0).all(), "the output is unchanged by the new component"
    assert allocator.found().ranks.ranks == (3, 1, 2)
    assert allocator.details() == {"ranks_moved": 1}
    expected_output = by_hand(model, X, updates(model, gates))
    np.testing.assert_allclose(model(X).detach().numpy(), expected_output, rtol=0, atol=1e-5)


def test_l1ra_does_not_prune_at_the_last_step() -> None:
    _, allocator = made(L1ra, settings(L1raConfig, total=6, l1=1e6, interval_share=0.5))
    allocator.on_train_begin(None, SimpleNamespace(max_steps=10), None)
    step(allocator, 10)
    assert allocator.found().ranks.ranks == (2, 2, 2)


def test_l1ra_needs_steps_to_prune_at() -> None:
    _, allocator = made(L1ra, settings(L1raConfig, total=6))
    with pytest.raises(UserError, match="no step to prune at"):
        allocator.on_train_begin(None, SimpleNamespace(max_steps=9), None)


# IncreLoRA


def incre(**more: Any) -> tuple[Any, Any]:
    config = settings(IncreLoraConfig, **{"total": 9, "layers_per_round": 2, "warmup_share": 0.1, **more})
    model, allocator = made(IncreLora, config)
    for a, b in lora_factors(model):
        nn.init.normal_(a, std=0.3)
        nn.init.normal_(b, std=0.3)
    with torch.no_grad():
        allocator.gates().normal_()
    allocator.on_train_begin(None, SimpleNamespace(max_steps=20), None)
    return model, allocator


def incre_factors(allocator: Any, ranks: list[int], reserve: bool) -> Tensor:
    gates = allocator.gates().detach()
    rows = [
        [(float(gates[i, j]) if j < r else 1e-5 * reserve * (j == r)) * K / r for j in range(K)]
        for i, r in enumerate(ranks)
    ]
    return torch.tensor(rows)


def weight_gradients(model: Any, deltas: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """dL/dW of mean squared outputs, by autograd through plain matrices."""
    weights = {}
    hidden = X.double()
    for name, layer in lora_layers(model).items():
        base = layer.get_base_layer()
        weights[name] = (base.weight.detach().double() + torch.tensor(deltas[name])).requires_grad_(True)
        hidden = hidden @ weights[name].T + base.bias.detach().double()
        hidden = hidden if name == "third" else torch.tanh(hidden)
    found = torch.autograd.grad(hidden.square().mean(), list(weights.values()))
    return {name: g.numpy() for name, g in zip(weights, found, strict=True)}


def test_increlora_s_update_is_alpha_over_the_rank_in_use() -> None:
    model, allocator = incre()
    allocator.ranks = torch.tensor([1, 3, 2])
    expected = by_hand(model, X, updates(model, incre_factors(allocator, [1, 3, 2], reserve=True)))
    np.testing.assert_allclose(model(X).detach().numpy(), expected, rtol=0, atol=1e-5)


def test_increlora_s_importance_is_the_authors() -> None:
    """S = sum |W x dL/dW| / sqrt(size), averaged twice; over two steps of two micro-batches each."""
    model, allocator = incre()
    average, deviation = np.zeros(3), np.zeros(3)
    for number in (1, 2):
        deltas = updates(model, incre_factors(allocator, [1, 1, 1], reserve=True))
        gradients = weight_gradients(model, deltas)
        for rows in (X[:4], X[4:]):
            (model(rows).square().sum() / (len(X) * 5)).backward()
        step(allocator, number)
        scores = np.array([np.abs(deltas[n] * gradients[n]).sum() / np.sqrt(deltas[n].size) for n in SHAPES])
        average = 0.85 * average + 0.15 * scores
        deviation = 0.85 * deviation + 0.15 * np.abs(scores - average)
        np.testing.assert_allclose(allocator.average.numpy(), average, rtol=1e-4)
        np.testing.assert_allclose(allocator.deviation.numpy(), deviation, rtol=1e-4)
        with torch.no_grad():
            allocator.gates().add_(0.1)


def test_increlora_grows_where_importance_is_highest_until_the_budget_is_met() -> None:
    _, allocator = incre(growth_share=0.7)
    assert (allocator.warmup, allocator.interval) == (2, 4), "three rounds of two between steps 2 and 14"
    allocator.average = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    allocator.deviation = torch.ones(3, dtype=torch.float64)
    seen = {}
    for number in range(1, 21):
        state = SimpleNamespace(global_step=number - 1)
        allocator.on_optimizer_step(None, state, None)
        seen[number] = allocator.ranks.tolist()
    assert seen[5] == [1, 1, 1]
    assert seen[6] == [2, 1, 2]
    assert seen[10] == [3, 1, 3]
    assert seen[14] == seen[20] == [4, 1, 4]
    assert not allocator.growing
    np.testing.assert_array_equal(
        allocator._weights().detach() != 0, np.arange(K) < np.array([[4], [1], [4]])
    )


def test_increlora_never_exceeds_the_largest_rank() -> None:
    _, allocator = incre(total=20, growth_share=0.9)
    allocator.average = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    allocator.deviation = torch.ones(3, dtype=torch.float64)
    for number in range(1, 21):
        allocator.on_optimizer_step(None, SimpleNamespace(global_step=number - 1), None)
        assert allocator.ranks.max() <= 8
    assert allocator.found().ranks.ranks == (8, 4, 8)


def test_increlora_keeps_components_orthogonal() -> None:
    model, allocator = incre()
    allocator.ranks = torch.tensor([1, 3, 2])
    expected = []
    for (a, b), count in zip(lora_factors(model), (2, 4, 3), strict=True):
        rows, columns = a.detach().numpy()[:count], b.detach().numpy()[:, :count]
        expected += [np.linalg.norm(p - np.eye(count)) for p in (rows @ rows.T, columns.T @ columns)]
    assert float(allocator.penalty()) == pytest.approx(0.1 * np.mean(expected), rel=1e-5)


def test_increlora_needs_room_and_steps() -> None:
    with pytest.raises(UserError, match="more than 2 in all"):
        made(IncreLora, settings(IncreLoraConfig, total=2))
    _, allocator = made(IncreLora, settings(IncreLoraConfig, total=20, layers_per_round=1))
    with pytest.raises(UserError, match="17 rounds of growth"):
        allocator.on_train_begin(None, SimpleNamespace(max_steps=20), None)


# DyLoRA


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_dylora_is_lora_of_its_first_components(rank: int) -> None:
    model, allocator = made(DyLora, settings(DyLoraConfig))
    allocator.rank = rank
    deltas = {
        name: ALPHA / rank * b.detach().double().numpy()[:, :rank] @ a.detach().double().numpy()[:rank]
        for name, (a, b) in zip(SHAPES, lora_factors(model), strict=True)
    }
    np.testing.assert_allclose(model(X).detach().numpy(), by_hand(model, X, deltas), rtol=0, atol=1e-5)


@pytest.mark.parametrize("frozen", [True, False])
def test_dylora_trains_the_last_component_or_all_of_them(frozen: bool) -> None:
    model, allocator = made(DyLora, settings(DyLoraConfig, frozen=frozen))
    allocator.rank = 3
    model(X).square().mean().backward()
    expected = [False, False, True] if frozen else [True, True, True]
    for a, b in lora_factors(model):
        assert a.grad.any(dim=1).tolist() == [*expected, *[False] * 5]
        assert b.grad.any(dim=0).tolist() == [*expected, *[False] * 5]


def test_dylora_draws_every_rank_alike_and_the_same_after_an_interruption() -> None:
    drawn = []
    for _ in range(2):
        _, allocator = made(DyLora, settings(DyLoraConfig))
        ranks = []
        for number in range(2000):
            allocator.on_step_begin(SimpleNamespace(seed=7), SimpleNamespace(global_step=number), None)
            ranks.append(allocator.rank)
        drawn.append(ranks)
    assert drawn[0] == drawn[1]
    counts = np.bincount(drawn[0], minlength=9)[1:]
    assert counts.min() > 200
    assert counts.sum() == 2000


def test_dylora_s_gains_are_those_of_the_first_components_energy() -> None:
    generator = np.random.default_rng(0)
    b, a = generator.normal(size=(9, 5)) * [3, 2, 1, 0.5, 0.1], generator.normal(size=(5, 7))
    energies = [0.0] + [np.linalg.norm(b[:, :j] @ a[:j]) ** 2 for j in range(1, 6)]
    found = prefix_gains(torch.tensor(b), torch.tensor(a)).numpy()
    assert (np.diff(found) <= 1e-12).all()
    assert found.sum() == pytest.approx(energies[-1])
    if (np.diff(np.diff(energies)) <= 0).all():
        np.testing.assert_allclose(found, np.diff(energies))


def test_dylora_s_cut_keeps_the_most_energy() -> None:
    """Against all cuts, where no later component adds more than an earlier one."""
    model, allocator = made(DyLora, settings(DyLoraConfig, total=9))
    with torch.no_grad():
        for a, b in lora_factors(model):
            left, right = torch.linalg.qr(torch.randn(K, K))[0], torch.linalg.qr(torch.randn(K, K))[0]
            strength = torch.sort(torch.rand(K), descending=True).values
            a.copy_(nn.functional.pad(right, (0, a.shape[1]))[:, : a.shape[1]])
            b.copy_((nn.functional.pad(left * strength, (0, 0, 0, len(b))))[: len(b)])
    energy = [
        [float((b[:, :j] @ a[:j]).square().sum()) for j in range(K + 1)] for a, b in lora_factors(model)
    ]
    cuts = [cut for cut in itertools.product(range(K + 1), repeat=3) if sum(cut) == 9]
    most = max(sum(e[j] for e, j in zip(energy, cut, strict=True)) for cut in cuts)
    found = allocator.found().ranks.ranks
    pooled = [np.concatenate([[0], np.cumsum(prefix_gains(b, a).numpy())]) for a, b in lora_factors(model)]
    assert sum(p[j] for p, j in zip(pooled, found, strict=True)) >= most - 1e-5


# the whole methods


@pytest.mark.parametrize("method", ["sora", "l1ra", "increlora", "dylora"])
@pytest.mark.sample(keep=("sora",))
def test_the_budget_is_met_and_the_cost_recorded(method: str, trained: Any) -> None:
    run = trained(method)
    search = run.record.phase("search")
    assert search.details["total_rank"] == sum(layer.rank for layer in run.record.ranks) == 16
    assert search.steps == run.record.phase("retrain").steps == 18
    assert {evaluation.phase for evaluation in run.record.history} == {"retrain"}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["sora", "method.l1=0"], "method.l1=0"),
        (["sora", "method.gate_learning_rate=0"], "gate_learning_rate=0"),
        (["l1ra", "method.interval_share=0"], "interval_share=0"),
        (["l1ra", "method.interval_share=1"], "interval_share=1"),
        (["l1ra", "method.prune_below=0"], "prune_below=0"),
        (["increlora", "method.layers_per_round=0"], "layers_per_round=0"),
        (["increlora", "method.warmup_share=0.5"], "no steps to grow in"),
        (["increlora", "method.orthogonality=-1"], "orthogonality=-1"),
        (["increlora", "method.sensitivity_beta=1"], "sensitivity_beta=1"),
    ],
)
@pytest.mark.sample(one_in=3)
def test_settings_that_make_no_sense_are_refused(words: list[str], match: str, composed: Any) -> None:
    with pytest.raises(UserError, match=match):
        composed(*words)
