"""Every estimator against numerical differentiation of L_val(W_hat(beta), beta) through a real optimizer."""

import pytest
import torch
from torch import Tensor

from autolora_bench.errors import UserError
from autolora_bench.search import ESTIMATORS, estimator

EXACT = {"unrolled": 1e-5, "forward_difference": 1e-4, "central_difference": 1e-4}


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_fused", "sgd"])
@pytest.mark.parametrize("warm", [0, 4])
@pytest.mark.sample(keep=("4-adamw", "0-sgd"))
def test_estimators_against_numerical_derivative(toys, problem, optimizers, optimizer, warm):
    case = problem(toys.model(r=2), optimizers[optimizer], warm=warm)
    numerical = case.numerical()
    for name, tolerance in EXACT.items():
        assert toys.relative(case.beta_gradient(estimator(name)), numerical) < tolerance, name
    released = case.beta_gradient(estimator("released"))
    assert toys.relative(released, numerical) > 0.05


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.sample(keep=("gpt2",))
def test_unrolled_on_other_layer_kinds(toys, problem, optimizers, kind):
    case = problem(toys.model(kind), optimizers["adamw"], warm=1)
    assert toys.relative(case.beta_gradient(estimator("unrolled")), case.numerical()) < 1e-5


@pytest.mark.parametrize("constraint", ["sigmoid", "unconstrained", "topk"])
def test_unrolled_under_other_constraints(toys, problem, optimizers, constraint):
    case = problem(toys.model(r=2), optimizers["adamw"], constraint, warm=1)
    assert toys.relative(case.beta_gradient(estimator("unrolled")), case.numerical()) < 1e-5


def test_clipping_is_part_of_the_step(toys, problem, optimizers):
    case = problem(toys.model(r=2), optimizers["sgd"], max_grad_norm=0.1, warm=1)
    numerical = case.numerical()
    for name, tolerance in EXACT.items():
        assert toys.relative(case.beta_gradient(estimator(name)), numerical) < tolerance, name
    unclipped = problem(toys.model(r=2), optimizers["sgd"], max_grad_norm=1e6, warm=1)
    assert toys.relative(unclipped.beta_gradient(estimator("unrolled")), unclipped.numerical()) < 1e-5


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.sample(keep=("False",))
def test_cheap_estimators_point_the_same_way(toys, problem, trained):
    small_steps = lambda w: torch.optim.AdamW(w, lr=1e-3)  # noqa: E731
    case = problem(toys.model(trained=trained), small_steps, warm=5)
    exact = case.beta_gradient(estimator("unrolled"))
    assert toys.cosine(case.beta_gradient(estimator("closed_form")), exact) > 0.999
    assert toys.cosine(case.beta_gradient(estimator("first_order")), exact) > 0.99


LOOPS = {
    "adamw": lambda w: torch.optim.AdamW(w, lr=1e-2, weight_decay=0.1),
    "adamw_other": lambda w: torch.optim.AdamW(w, lr=1e-2, betas=(0.5, 0.6), eps=1e-4),
    "sgd": lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "heavy_ball": lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.7),
}


@pytest.mark.parametrize(
    ("optimizer", "inner_steps", "warm"),
    [
        ("adamw", 1, 2),
        ("adamw", 2, 2),
        ("adamw", 3, 2),
        ("adamw_other", 3, 0),
        ("sgd", 2, 1),
        ("heavy_ball", 3, 0),
    ],
)
@pytest.mark.sample(keep=("adamw-2-2",))
def test_unrolled_through_several_inner_steps(toys, problem, optimizer, inner_steps, warm):
    """The whole loop is run again for every perturbed variable, dropout and all."""
    case = problem(toys.model(r=2), LOOPS[optimizer], warm=warm, inner_steps=inner_steps)
    assert toys.relative(case.beta_gradient(estimator("unrolled")), case.numerical()) < 2e-5


def test_several_inner_steps_with_clipping(toys, problem):
    case = problem(toys.model(r=2), LOOPS["adamw"], "sigmoid", max_grad_norm=0.1, warm=1, inner_steps=2)
    assert toys.relative(case.beta_gradient(estimator("unrolled")), case.numerical()) < 2e-5


def test_cheap_estimators_through_several_inner_steps(toys, problem):
    """The implicit term grows with the loop. While B is small the closed form has it, first-order MAML has none of it;
    with B as large as A neither has, and both are off by less than 2 %."""
    small_steps = lambda w: torch.optim.AdamW(w, lr=1e-3)  # noqa: E731
    for trained in (False, True):
        case = problem(toys.model(trained=trained), small_steps, warm=5, inner_steps=3)
        exact, closed, first = (case.terms(estimator(n)) for n in ("unrolled", "closed_form", "first_order"))
        assert not first.implicit.any()
        for found in (closed, first):
            assert distance(found.direct, exact.direct) < 1e-9
        missed = [distance(found.total, exact.total) for found in (closed, first)]
        assert max(missed) < 0.02 if trained else missed[0] < missed[1] / 2


def test_what_the_closed_form_drops_between_steps_is_of_second_order(toys, problem):
    """B = 0 before the loop: a tenth of the rate leaves a hundredth of the difference."""
    found = []
    for rate in (1e-2, 1e-3):
        sgd = lambda w, rate=rate: torch.optim.SGD(w, lr=rate, momentum=0.5)  # noqa: E731
        case = problem(toys.model(trained=False), sgd, inner_steps=2)
        exact, closed = (case.terms(estimator(name)).implicit for name in ("unrolled", "closed_form"))
        found.append(float((closed - exact).norm()))
    assert found[1] < found[0] / 50


def along_the_path(case, step):
    """Sum of autograd's gradients on alpha itself at the weights of every step, through the same masks."""
    case.selection.track()
    total = torch.zeros_like(case.selection.current)
    for passes, before in [(done.passes, done.before) for done in [*step.past, step]]:
        step.passes = passes
        total += step.replayed_alpha_gradient(before)
    return total


@pytest.mark.parametrize("constraint", ["softmax", "unconstrained"])
@pytest.mark.sample(keep=("softmax",))
def test_reptile_follows_the_training_gradients_of_the_path(toys, problem, constraint):
    """Against autograd on alpha itself at the weights of every step, through the same masks, before clipping."""
    case = problem(toys.model(), LOOPS["adamw"], constraint, max_grad_norm=0.1, warm=1, inner_steps=3)
    case.selection.beta.data[0, 0] = 0.0 if constraint == "unconstrained" else 0.5
    case.selection.refresh()
    step = case.new_step()
    found = case.terms(estimator("reptile"), step)
    total = along_the_path(case, step)
    expected = torch.where(case.selection.current == 0, 0.0, total / 3).detach()
    assert toys.relative(found.direct, expected) < 1e-9
    assert not found.implicit.any()


def frozen(toys, factor: str, **model):
    """A toy model whose lora_A or lora_B stands still, as in LoRA-FA."""
    found = toys.model(**model)
    for name, weight in found.named_parameters():
        weight.requires_grad_(weight.requires_grad and factor not in name)
    return found


def test_closed_form_where_lora_a_is_frozen(toys, problem):
    """B = 0: no curvature is dropped in the first step, which is a long one, as small numbers are no derivative."""
    case = problem(frozen(toys, "lora_A", trained=False), lambda w: torch.optim.SGD(w, lr=20.0))
    exact, closed = (case.terms(estimator(name)) for name in ("unrolled", "closed_form"))
    assert distance(closed.implicit, exact.implicit) < 1e-10
    assert distance(case.beta_gradient(estimator("closed_form")), case.numerical()) < 1e-5
    assert distance(closed.direct, closed.total) > 0.1


@pytest.mark.parametrize("factor", ["lora_A", "lora_B"])
def test_reptile_where_a_factor_is_frozen(toys, problem, factor):
    case = problem(frozen(toys, factor), LOOPS["adamw"], warm=1, inner_steps=2)
    step = case.new_step()
    found = case.terms(estimator("reptile"), step)
    total = along_the_path(case, step)
    assert toys.relative(found.direct, total.detach() / 2) < 1e-9


def test_reptile_refuses_a_layer_without_a_trained_factor(toys, problem):
    case = problem(frozen(toys, "lora_"), LOOPS["adamw"], inner_steps=2)
    with pytest.raises(UserError, match="a layer has both frozen"):
        case.terms(estimator("reptile"))


def distance(found: Tensor, exact: Tensor) -> float:
    """Norm of the difference over the norm of the exact."""
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("constraint", ["softmax", "sigmoid", "topk"])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.sample(one_in=3)
def test_cheap_estimators_are_as_large_as_the_exact_one(toys, problem, trained, constraint):
    """Direction and length, of alpha's gradient (mirror descent) and of beta's."""
    case = problem(toys.model(trained=trained), lambda w: torch.optim.AdamW(w, lr=1e-3), constraint, warm=5)
    exact, closed, first = (case.terms(estimator(n)) for n in ("unrolled", "closed_form", "first_order"))
    for found in (closed, first):
        assert distance(found.direct, exact.direct) < 1e-9
    assert not first.implicit.any()
    for view in (lambda total: total, case.selection.pull_back):
        small, larger = (distance(view(found.total), view(exact.total)) for found in (closed, first))
        assert small < 0.012
        assert small < larger < (0.02 if trained else 0.08)
    assert distance(closed.implicit, exact.implicit) < (
        0.85 if trained else 0.2
    )  # B = 0: no curvature to drop


def test_closed_form_is_exact_for_the_first_step_of_lora(toys, problem, optimizers):
    """B = 0: the dropped curvature is zero for every layer, and so is the head's part of M w."""
    case = problem(toys.model(trained=False), optimizers["sgd"])
    exact, closed = (case.terms(estimator(name)) for name in ("unrolled", "closed_form"))
    assert toys.relative(closed.implicit, exact.implicit) < 1e-10


def test_estimators_leave_the_step_as_it_was(toys, problem, optimizers):
    """Weights, moments, gradients and generators after `terms` are those of a plain step and a validation
    pass."""
    case = problem(toys.model(), optimizers["adamw"], warm=1)

    def after(name: str) -> list[Tensor]:
        case.terms(estimator(name))
        states = [s[k] for s in case.optimizer.state.values() for k in ("exp_avg", "exp_avg_sq")]
        gradients = [w.grad for w in case.weights.values() if w.grad is not None]
        return [
            *(w.detach().clone() for w in case.weights.values()),
            *states,
            *gradients,
            torch.get_rng_state(),
        ]

    reference = after("first_order")
    for name in set(ESTIMATORS) - {"released", "unrolled", "reptile"}:
        assert all(torch.equal(a, b) for a, b in zip(after(name), reference, strict=True)), name
    pairs = zip(after("unrolled"), reference, strict=True)
    assert all(torch.allclose(a.double(), b.double(), rtol=1e-9, atol=1e-12) for a, b in pairs)


def test_released_rolls_back_and_steps_again(toys, problem, optimizers):
    case = problem(toys.model(dropout=0.0), optimizers["adamw"], max_grad_norm=0.5, warm=1)
    before, state, _ = case.start
    frozen = {n: p.clone() for n, p in case.model.named_parameters() if not p.requires_grad}
    released, step = estimator("released"), case.new_step()
    case.terms(released, step)
    assert all(torch.equal(w, b) for w, b in zip(case.weights.values(), before, strict=True))
    restored = {w: s["exp_avg"] for w, s in case.optimizer.state.items()}
    assert all(torch.equal(restored[w], s["exp_avg"]) for w, s in state.items())
    assert all(torch.equal(p, frozen[n]) for n, p in case.model.named_parameters() if n in frozen)

    case.optimizer.zero_grad()
    released.finish(step)
    again = [w.detach().clone() for w in case.weights.values()]
    case.terms(estimator("first_order"))
    assert all(torch.allclose(w, a, rtol=1e-12) for w, a in zip(case.weights.values(), again, strict=True))


def test_names(toys):
    assert set(ESTIMATORS) == {
        "first_order", "closed_form", "unrolled", "forward_difference", "central_difference", "released",
        "reptile",
    }  # fmt: skip
    with pytest.raises(UserError, match="unknown hypergradient 'exact'"):
        estimator("exact")


def test_unknown_jacobian_is_refused(toys, problem):
    case = problem(toys.model(), lambda w: torch.optim.RMSprop(w, lr=1e-3))
    with pytest.raises(UserError, match="Jacobian of RMSprop"):
        case.terms(estimator("closed_form"))
