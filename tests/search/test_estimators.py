"""Every estimator against numerical differentiation of L_val(W_hat(beta), beta) through the real
optimizer."""

import pytest
import torch
from torch import Tensor

from autolora_bench.errors import UserError
from autolora_bench.search import ESTIMATORS, hypergradient

EXACT = {"unrolled": 1e-5, "forward_difference": 1e-4, "central_difference": 1e-4}


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_fused", "sgd"])
@pytest.mark.parametrize("warm", [0, 4])
def test_estimators_against_numerical_derivative(toys, optimizer, warm):
    problem = toys.problem(toys.model(), toys.optimizers[optimizer], warm=warm)
    numerical = problem.numerical()
    for name, tolerance in EXACT.items():
        assert toys.relative(problem.beta_gradient(hypergradient(name)), numerical) < tolerance, name
    released = problem.beta_gradient(hypergradient("released"))
    assert toys.relative(released, numerical) > 0.05


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_unrolled_on_other_layer_kinds(toys, kind):
    problem = toys.problem(toys.model(kind), toys.optimizers["adamw"], warm=1)
    assert toys.relative(problem.beta_gradient(hypergradient("unrolled")), problem.numerical()) < 1e-5


@pytest.mark.parametrize("constraint", ["sigmoid", "unconstrained"])
def test_unrolled_under_other_constraints(toys, constraint):
    problem = toys.problem(toys.model(), toys.optimizers["adamw"], constraint, warm=1)
    assert toys.relative(problem.beta_gradient(hypergradient("unrolled")), problem.numerical()) < 1e-5


def test_clipping_is_part_of_the_step(toys):
    problem = toys.problem(toys.model(), toys.optimizers["sgd"], max_grad_norm=0.1, warm=1)
    numerical = problem.numerical()
    for name, tolerance in EXACT.items():
        assert toys.relative(problem.beta_gradient(hypergradient(name)), numerical) < tolerance, name
    unclipped = toys.problem(toys.model(), toys.optimizers["sgd"], max_grad_norm=1e6, warm=1)
    assert toys.relative(unclipped.beta_gradient(hypergradient("unrolled")), unclipped.numerical()) < 1e-5


@pytest.mark.parametrize("trained", [False, True])
def test_cheap_estimators_point_the_same_way(toys, trained):
    small_steps = lambda w: torch.optim.AdamW(w, lr=1e-3)  # noqa: E731
    problem = toys.problem(toys.model(trained=trained), small_steps, warm=5)
    exact = problem.beta_gradient(hypergradient("unrolled"))
    assert toys.cosine(problem.beta_gradient(hypergradient("closed_form")), exact) > 0.999
    assert toys.cosine(problem.beta_gradient(hypergradient("first_order")), exact) > 0.99


def test_closed_form_is_exact_for_the_first_step_of_lora(toys):
    """B = 0: the dropped curvature is zero for every layer, so only the head's part of M w may differ:
    none."""
    problem = toys.problem(toys.model(trained=False), toys.optimizers["sgd"])
    exact, closed = (problem.terms(hypergradient(name)) for name in ("unrolled", "closed_form"))
    assert toys.relative(closed.implicit, exact.implicit) < 1e-10


def test_estimators_leave_the_step_as_it_was(toys):
    """Weights, moments, gradients and generators after `terms` are those of a plain step and a validation
    pass."""
    problem = toys.problem(toys.model(), toys.optimizers["adamw"], warm=1)

    def after(name: str) -> list[Tensor]:
        problem.terms(hypergradient(name))
        states = [s[k] for s in problem.optimizer.state.values() for k in ("exp_avg", "exp_avg_sq")]
        gradients = [w.grad for w in problem.weights.values() if w.grad is not None]
        return [
            *(w.detach().clone() for w in problem.weights.values()),
            *states,
            *gradients,
            torch.get_rng_state(),
        ]

    reference = after("first_order")
    for name in set(ESTIMATORS) - {"released", "unrolled"}:
        assert all(torch.equal(a, b) for a, b in zip(after(name), reference, strict=True)), name
    pairs = zip(after("unrolled"), reference, strict=True)
    assert all(torch.allclose(a.double(), b.double(), rtol=1e-9, atol=1e-12) for a, b in pairs)


def test_released_rolls_back_and_steps_again(toys):
    problem = toys.problem(toys.model(), toys.optimizers["adamw"], warm=1)
    before, state, _ = problem.start
    frozen = {n: p.clone() for n, p in problem.model.named_parameters() if not p.requires_grad}
    estimator = hypergradient("released")
    problem.terms(estimator)
    assert all(torch.equal(w, b) for w, b in zip(problem.weights.values(), before, strict=True))
    restored = {w: s["exp_avg"] for w, s in problem.optimizer.state.items()}
    assert all(torch.equal(restored[w], s["exp_avg"]) for w, s in state.items())
    assert all(torch.equal(p, frozen[n]) for n, p in problem.model.named_parameters() if n in frozen)


def test_names(toys):
    assert set(ESTIMATORS) == {
        "first_order", "closed_form", "unrolled", "forward_difference", "central_difference", "released",
    }  # fmt: skip
    with pytest.raises(UserError, match="unknown hypergradient 'exact'"):
        hypergradient("exact")


def test_unknown_jacobian_is_refused(toys):
    problem = toys.problem(toys.model(), lambda w: torch.optim.RMSprop(w, lr=1e-3))
    with pytest.raises(UserError, match="Jacobian of RMSprop"):
        problem.terms(hypergradient("closed_form"))
