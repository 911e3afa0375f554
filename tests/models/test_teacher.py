"""What is planted: its rank, what its directions see, how far it moves the output, and that nothing else changes."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.model import RandomNet
from autolora_bench.config.task import PlantMode
from autolora_bench.errors import UserError
from autolora_bench.models.random_net import ResidualNet, random_net
from autolora_bench.models.teacher import (
    Update,
    calibrated,
    draw_updates,
    hidden_states,
    layer_inputs,
    planted,
)

RANKS = {"blocks.0.dense": 3, "blocks.1.dense": 0, "blocks.2.dense": 1, "blocks.3.dense": 5}
CHANGE = 0.3


@pytest.fixture(scope="module")
def net() -> ResidualNet:
    return random_net(RandomNet(blocks=4, units=24, vocabulary=100)).eval()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def batches() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    masks = [torch.ones(40, 9, dtype=torch.long) for _ in range(2)]
    masks[1][3:, 6:] = 0
    return [
        {"input_ids": torch.randint(0, 100, (40, 9), generator=generator), "attention_mask": mask}
        for mask in masks
    ]


def updates_of(net: ResidualNet, batches: list[dict[str, Tensor]], mode: PlantMode) -> dict[str, Update]:
    drawn = draw_updates(layer_inputs(net, list(RANKS), batches), RANKS, 7)
    return calibrated(net, drawn, batches, mode, CHANGE)


def moved(net: ResidualNet, batches: list[dict[str, Tensor]], layer: str, delta: Tensor) -> float:
    """Squared change of the output over its variance, by hand: the weight itself is edited."""
    weight = net.get_submodule(layer).weight
    with torch.no_grad():
        before = [net(**batch).last_hidden_state for batch in batches]
        weight += delta
        after = [net(**batch).last_hidden_state for batch in batches]
        weight -= delta
    masks = [batch["attention_mask"].bool() for batch in batches]
    base = torch.cat([states[mask] for states, mask in zip(before, masks, strict=True)]).double()
    new = torch.cat([states[mask] for states, mask in zip(after, masks, strict=True)]).double()
    return float((new - base).square().sum() / (base - base.mean(dim=0)).square().sum())


@pytest.mark.parametrize("mode", PlantMode)
def test_updates_have_their_ranks_and_whitened_directions(
    net: ResidualNet, batches: list[dict[str, Tensor]], mode: PlantMode
) -> None:
    updates = updates_of(net, batches, mode)
    assert set(updates) == {name for name, rank in RANKS.items() if rank}
    read: dict[str, list[Tensor]] = {name: [] for name in updates}
    handles = [
        net.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: read[name].append(args[0])
        )
        for name in updates
    ]
    with torch.no_grad():
        for batch in batches:
            net(**batch)
    for handle in handles:
        handle.remove()
    for name, update in updates.items():
        rank = RANKS[name]
        assert torch.linalg.matrix_rank(update.delta()) == rank
        torch.testing.assert_close(update.left.T @ update.left, torch.eye(rank, dtype=torch.float64))
        inputs = torch.cat(
            [x[b["attention_mask"].bool()] for x, b in zip(read[name], batches, strict=True)]
        ).double()
        seen = inputs @ update.right
        torch.testing.assert_close(
            seen.T @ seen / len(seen), torch.eye(rank, dtype=torch.float64), atol=1e-6, rtol=0
        )


def test_equal_every_component_alone_moves_the_output_by_the_same_amount(
    net: ResidualNet, batches: list[dict[str, Tensor]]
) -> None:
    found = [
        moved(net, batches, name, update.delta(slice(j, j + 1)))
        for name, update in updates_of(net, batches, PlantMode.equal).items()
        for j in range(RANKS[name])
    ]
    assert found == pytest.approx([CHANGE**2 / 9] * 9, rel=0.02)


def test_size_every_planted_layer_alone_moves_the_output_by_the_same_amount(
    net: ResidualNet, batches: list[dict[str, Tensor]]
) -> None:
    updates = updates_of(net, batches, PlantMode.size)
    found = [moved(net, batches, name, update.delta()) for name, update in updates.items()]
    assert found == pytest.approx([CHANGE**2 / 3] * 3, rel=0.02)
    assert all(len(set(update.scales.tolist())) == 1 for update in updates.values())


def test_the_seed_draws_the_plant(net: ResidualNet, batches: list[dict[str, Tensor]]) -> None:
    read = layer_inputs(net, list(RANKS), batches)
    one, same, other = (draw_updates(read, RANKS, seed)["blocks.0.dense"].left for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_the_model_is_as_before_afterwards(net: ResidualNet, batches: list[dict[str, Tensor]]) -> None:
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    base = hidden_states(net, batches)
    delta = updates_of(net, batches, PlantMode.equal)["blocks.3.dense"].delta()
    with planted(net, {"blocks.3.dense": delta}):
        assert not torch.allclose(hidden_states(net, batches), base)
    assert all(torch.equal(before[name], weight) for name, weight in net.named_parameters())


def test_a_turned_layer_takes_the_same_update() -> None:
    torch.manual_seed(0)
    model = GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=16)).eval()
    layer = model.h[0].mlp.c_fc
    assert isinstance(layer, Conv1D)
    delta, x = torch.randn(32, 8), torch.randn(5, 8)
    expected = layer(x) + nn.functional.linear(x, delta)
    with planted(model, {"h.0.mlp.c_fc": delta}):
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rank", [25, 1000])
def test_a_rank_that_does_not_fit_is_refused(
    net: ResidualNet, batches: list[dict[str, Tensor]], rank: int
) -> None:
    read = layer_inputs(net, ["blocks.0.dense"], batches)
    with pytest.raises(UserError, match=f"no room for a planted rank of {rank}"):
        draw_updates(read, {"blocks.0.dense": rank}, 0)


def test_a_change_that_cannot_be_reached_is_refused(
    net: ResidualNet, batches: list[dict[str, Tensor]]
) -> None:
    drawn = draw_updates(layer_inputs(net, list(RANKS), batches), RANKS, 7)
    with pytest.raises(UserError, match="changes the output as far as is asked for"):
        calibrated(net, drawn, batches, PlantMode.equal, 50.0)


def test_the_random_net_is_drawn_from_its_own_seed_alone() -> None:
    def weights(seed: int) -> Iterator[Tensor]:
        return iter(random_net(RandomNet(blocks=2, units=8, vocabulary=10, seed=seed)).parameters())

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = list(weights(0))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, weights(0), strict=True))
    assert not torch.equal(first[0], next(weights(1)))
