"""LoRA-Pro's correction against least squares, and its optimizer against the definition step by step."""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_sylvester
from torch import Tensor, nn

from autolora_bench.training.lora_pro import LoraProAdamW, corrected, equivalent

D, OUT, R, SCALE = 7, 6, 3, 2.5


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A, B and the gradient of the whole weight."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((R, D), (OUT, R), (OUT, D))
    a, b, g = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return a, b, g


def low_rank_gradients(a: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    return SCALE * b.T @ g, SCALE * g @ a.T


def flat(matrix: Tensor) -> np.ndarray:
    return matrix.numpy().reshape(-1)


@pytest.mark.parametrize("seed", range(3))
def test_the_equivalent_gradient_is_the_closest_to_the_full_one(seed: int) -> None:
    """Columns: what each entry of dA and of dB does to W. numpy finds the best combination of them."""
    a, b, g = drawn(seed)
    steps = corrected(a, b, *low_rank_gradients(a, b, g), SCALE, damping=0.0)
    of_a = SCALE * np.kron(b.numpy(), np.eye(D))
    of_b = SCALE * np.kron(np.eye(OUT), a.numpy().T)
    columns = np.concatenate([of_a, of_b], axis=1)
    solution = np.linalg.lstsq(columns, flat(g), rcond=None)[0]
    found = flat(equivalent(a, b, *steps, SCALE))
    np.testing.assert_allclose(found, columns @ solution, atol=1e-10)
    plain = equivalent(a, b, *low_rank_gradients(a, b, g), SCALE)
    assert np.linalg.norm(found - flat(g)) < np.linalg.norm(flat(plain - g))


def test_of_all_such_steps_it_is_the_closest_to_loras_gradients() -> None:
    a, b, g = drawn()
    gradients = low_rank_gradients(a, b, g)
    steps = corrected(a, b, *gradients, SCALE, damping=0.0)
    best = sum(float((step - own).square().sum()) for step, own in zip(steps, gradients, strict=True))
    whole = equivalent(a, b, *steps, SCALE)
    for seed in range(20):
        x = 0.1 * torch.randn(R, R, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        other = (steps[0] + x @ a, steps[1] - b @ x)
        torch.testing.assert_close(equivalent(a, b, *other, SCALE), whole)
        assert sum(float((s - own).square().sum()) for s, own in zip(other, gradients, strict=True)) > best


def test_the_steps_are_the_papers_formulas_with_scipys_sylvester() -> None:
    a, b, g = (matrix.numpy() for matrix in drawn())
    ga, gb = SCALE * b.T @ g, SCALE * g @ a.T
    inverse = np.linalg.inv(b.T @ b)
    x = solve_sylvester(b.T @ b, a @ a.T, -inverse @ ga @ a.T / SCALE**2)
    da = inverse @ ga / SCALE**2 + x @ a
    db = (np.eye(OUT) - b @ inverse @ b.T) @ gb @ np.linalg.inv(a @ a.T) / SCALE**2 - b @ x
    found = corrected(*(torch.from_numpy(m) for m in (a, b, ga, gb)), SCALE, damping=0.0)
    np.testing.assert_allclose(found[0].numpy(), da, atol=1e-10)
    np.testing.assert_allclose(found[1].numpy(), db, atol=1e-10)


def test_a_b_of_zeros_moves_b_alone() -> None:
    a, b, g = drawn()
    b = torch.zeros_like(b)
    da, db = corrected(a, b, *low_rank_gradients(a, b, g), SCALE)
    assert not da.any()
    torch.testing.assert_close(equivalent(a, b, da, db, SCALE), g @ a.T @ torch.linalg.inv(a @ a.T) @ a)


def test_with_a_full_rank_it_is_adam_on_the_whole_weight() -> None:
    """Where A is square and B zero, steps of B alone reach every W: the weight moves as under Adam."""
    generator = torch.Generator().manual_seed(0)
    a = nn.Parameter(torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64))[0])
    b = nn.Parameter(torch.zeros(OUT, D, dtype=torch.float64))
    whole = nn.Parameter(torch.zeros(OUT, D, dtype=torch.float64))
    g = torch.randn(OUT, D, generator=generator, dtype=torch.float64)
    ours = LoraProAdamW([(a, b, SCALE)], [], lr=1e-3, weight_decay=0.0)
    adam = torch.optim.AdamW([whole], lr=1e-3, weight_decay=0.0)
    a.grad, b.grad = low_rank_gradients(a.detach(), b.detach(), g)
    whole.grad = g.clone()
    ours.step()
    adam.step()
    torch.testing.assert_close((SCALE * b @ a).detach(), whole.detach())


def test_other_weights_move_as_under_adamw_and_vectors_do_not_decay() -> None:
    a, b, g = drawn()
    pair = nn.Parameter(a), nn.Parameter(b)
    heads = [nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(3))]
    copies = [nn.Parameter(head.detach().clone()) for head in heads]
    ours = LoraProAdamW([(*pair, SCALE)], heads, lr=0.1, weight_decay=0.1)
    groups = [{"params": copies[:1]}, {"params": copies[1:], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1)
    for _ in range(3):
        pair[0].grad, pair[1].grad = low_rank_gradients(pair[0].detach(), pair[1].detach(), g)
        for weight in (*heads, *copies):
            weight.grad = torch.full_like(weight, 0.5)
        ours.step()
        adam.step()
    for head, copy in zip(heads, copies, strict=True):
        assert torch.equal(head, copy)


def test_its_state_goes_through_a_checkpoint() -> None:
    a, b, g = drawn()

    def trained(steps: int, state: dict[str, object] | None, pair: tuple[Tensor, Tensor]) -> LoraProAdamW:
        weights = nn.Parameter(pair[0].clone()), nn.Parameter(pair[1].clone())
        optimizer = LoraProAdamW([(*weights, SCALE)], [], lr=0.01, weight_decay=0.01)
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(steps):
            weights[0].grad, weights[1].grad = low_rank_gradients(weights[0].detach(), weights[1].detach(), g)
            optimizer.step()
        return optimizer

    def weights_of(optimizer: LoraProAdamW) -> list[Tensor]:
        return [weight.detach() for weight in optimizer.param_groups[0]["params"]]

    half = trained(2, None, (a, b))
    resumed = trained(2, half.state_dict(), (weights_of(half)[0], weights_of(half)[1]))
    for one, other in zip(weights_of(trained(4, None, (a, b))), weights_of(resumed), strict=True):
        assert torch.equal(one, other)
