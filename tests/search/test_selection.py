"""Selection variables on PEFT layers."""

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from autolora_bench.config.search import Scope
from autolora_bench.errors import UserError
from autolora_bench.search import (
    Selection,
    attach,
    detach,
    lora_factors,
    lora_layers,
    selection_for,
)

KINDS = ["bert", "gpt2", "llama"]


def logits(model, batch):
    torch.manual_seed(3)
    return model(**batch).logits


def set_alpha(selection: Selection, alpha: torch.Tensor) -> None:
    """Unconstrained variables are their own alphas."""
    selection.beta.data = alpha.to(selection.beta)
    selection.refresh()


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_of_one_is_pefts_own_output(toys, kind):
    model, batch = toys.model(kind), toys.examples(0)
    plain = logits(model, batch)
    selection = selection_for(model, "unconstrained", initial=1.0).double()
    handles = attach(model, selection)
    assert torch.equal(logits(model, batch), plain)
    set_alpha(selection, torch.full_like(selection.beta, 0.5))
    assert not torch.allclose(logits(model, batch), plain)
    detach(handles)
    assert torch.equal(logits(model, batch), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_of_zero_removes_the_component(toys, kind):
    model, batch = toys.model(kind, dropout=0.0), toys.examples(0)
    selection = selection_for(model, "unconstrained").double()
    handles = attach(model, selection)
    alpha = torch.ones_like(selection.beta)
    alpha[1, 2] = 0
    set_alpha(selection, alpha)
    weighted = logits(model, batch)
    detach(handles)
    with torch.no_grad():
        lora_factors(model)[1][1][:, 2] = 0
    torch.testing.assert_close(weighted, logits(model, batch), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_selection_gradient_comes_with_the_lora_gradient(toys, kind):
    """alpha_j dL/dalpha_j = <b_j, dL/db_j> = <a_j, dL/da_j>, dropout on."""
    model = toys.model(kind)
    selection = selection_for(model).double()
    selection.beta.data += torch.randn_like(selection.beta)
    attach(model, selection)
    selection.refresh(requires_grad=True)
    toys.loss(model, toys.examples(0)).backward()
    weighted = selection.current.grad * selection.current.detach()
    from_b = torch.stack([(b * b.grad).sum(dim=0) for _, b in lora_factors(model)])
    from_a = torch.stack([(a * a.grad).sum(dim=1) for a, _ in lora_factors(model)])
    torch.testing.assert_close(weighted, from_b, rtol=0, atol=1e-12)
    torch.testing.assert_close(weighted, from_a, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("softmax", lambda b: b.exp() / b.exp().sum(dim=-1, keepdim=True)),
        ("sigmoid", lambda b: 1 / (1 + (-b).exp())),
        ("unconstrained", lambda b: b),
    ],
)
def test_constraints_and_their_vector_jacobian_products(constraint, expected):
    selection = Selection(["x", "y"], 4, constraint).double()
    selection.beta.data = torch.randn(2, 4, dtype=torch.float64)
    selection.refresh()
    torch.testing.assert_close(selection.current, expected(selection.beta.detach()))
    gradient = torch.randn(2, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(expected, selection.beta.detach())
    torch.testing.assert_close(selection.pull_back(gradient), torch.einsum("ij,ijkl->kl", gradient, jacobian))


@pytest.mark.parametrize("scope", Scope)
def test_topk_shares_its_budget_in_a_layer_or_over_all(scope):
    selection = Selection(["x", "y", "z"], 4, "topk", budget=4.5, scope=scope).double()
    torch.testing.assert_close(selection.current, torch.full((3, 4), 0.375, dtype=torch.float64))
    selection.beta.data = 2 * torch.randn(
        3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    selection.refresh()
    sums = selection.current.sum(dim=1)
    torch.testing.assert_close(sums.sum().item(), 4.5, rtol=1e-12, atol=0)
    assert torch.allclose(sums, torch.tensor(1.5, dtype=torch.float64)) == (scope is Scope.layer)
    odds = (selection.current / (1 - selection.current)).log() - selection.beta.detach()
    parts = odds.flatten() if scope is Scope.model else odds.T
    torch.testing.assert_close(parts, parts[:1].expand_as(parts))
    gradient = torch.randn(3, 4, dtype=torch.float64)
    expected = numerical(selection, gradient)
    torch.testing.assert_close(selection.pull_back(gradient), expected, rtol=1e-6, atol=1e-9)


def numerical(selection: Selection, gradient: Tensor, h: float = 1e-5) -> Tensor:
    """d <gradient, alpha(beta)> / d beta by central differences."""
    found = torch.zeros_like(selection.beta)
    for cell in torch.cartesian_prod(*(torch.arange(n) for n in found.shape)).tolist():
        values = []
        for sign in (1, -1):
            selection.beta.data[tuple(cell)] += sign * h
            values.append((gradient * selection.alpha()).sum().item())
            selection.beta.data[tuple(cell)] -= sign * h
        found[tuple(cell)] = (values[0] - values[1]) / (2 * h)
    return found


def minimised(objective: Callable[[Tensor], Tensor], start: Tensor, total: float | None) -> Tensor:
    """The mirror step by its definition, min <g, a> + D(a, start) / rate, found by Newton's method in a.

    `total` is the sum to keep, by one Lagrange multiplier.
    """
    alpha = start.clone()
    for _ in range(200):
        slope = torch.autograd.functional.jacobian(objective, alpha)
        curvature = torch.autograd.functional.hessian(objective, alpha).diagonal()
        pull = (slope / curvature).sum() / (1 / curvature).sum() if total is not None else 0.0
        change = (slope - pull) / curvature
        while ((alpha - change) <= 0).any() or ((alpha - change) >= 1).any():
            change = change / 2
        alpha = alpha - change
    return alpha


def entropy(a: Tensor, b: Tensor) -> Tensor:
    return (a * (a / b).log()).sum()


@pytest.mark.parametrize(
    ("constraint", "divergence"),
    [
        ("softmax", entropy),
        ("sigmoid", lambda a, b: entropy(a, b) + entropy(1 - a, 1 - b)),
        ("topk", lambda a, b: entropy(a, b) + entropy(1 - a, 1 - b)),
    ],
)
def test_mirror_step_is_the_proximal_step_of_its_entropy(constraint, divergence):
    generator = torch.Generator().manual_seed(3)
    budget, scope = (1.7, Scope.layer) if constraint == "topk" else (None, Scope.model)
    selection = Selection(["x"], 4, constraint, budget=budget, scope=scope).double()
    selection.beta.data = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    start = selection.alpha().detach()[0]
    gradient = torch.randn(4, generator=generator, dtype=torch.float64)
    selection.mirror_step(gradient[None], 0.3)
    expected = minimised(
        lambda a: (gradient * a).sum() + divergence(a, start) / 0.3,
        start,
        None if constraint == "sigmoid" else start.sum().item(),
    )
    torch.testing.assert_close(selection.alpha()[0], expected, rtol=1e-9, atol=1e-12)


def test_mirror_step_on_the_simplex_is_multiplicative():
    """alpha_j exp(-rate g_j) / Z in each layer, over several steps; beta stays the logarithm of alpha."""
    selection = Selection(["x", "y"], 5).double()
    expected = torch.full((2, 5), 0.2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        gradient = torch.randn(2, 5, generator=generator, dtype=torch.float64)
        expected = expected * (-0.7 * gradient).exp()
        expected = expected / expected.sum(dim=1, keepdim=True)
        selection.mirror_step(gradient, 0.7)
        selection.refresh()
        torch.testing.assert_close(selection.current, expected, rtol=1e-11, atol=0)
    torch.testing.assert_close(selection.beta.detach(), expected.log())


def test_mirror_descent_finds_a_corner_of_the_simplex():
    """A linear loss is least where all the weight is on its smallest slope."""
    selection = Selection(["x"], 4).double()
    slopes = torch.tensor([[0.3, -0.2, 0.1, 0.0]], dtype=torch.float64)
    for _ in range(2000):
        selection.mirror_step(slopes, 0.1)
    torch.testing.assert_close(selection.alpha(), torch.tensor([[0.0, 1.0, 0.0, 0.0]], dtype=torch.float64))
    assert selection.beta.isfinite().all()


def test_layers_are_in_model_order(toys):
    names = list(lora_layers(toys.model("bert", layers=12)))
    assert names[:2] == [f"bert.encoder.layer.0.attention.self.{p}" for p in ("query", "value")]
    assert [int(name.split(".")[3]) for name in names] == [i for i in range(12) for _ in range(2)]


def test_initial_alpha_is_uniform():
    for initial in (0.0, 1.0):
        assert torch.equal(Selection(["x"], 8, "softmax", initial).current, torch.full((1, 8), 0.125))


def test_bf16_autocast_keeps_the_output_type(toys):
    model = toys.model().float()
    selection = selection_for(model)
    seen = []
    attach(model, selection)
    factor = next(iter(lora_layers(model).values())).lora_A["default"]
    factor.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        selection.refresh(requires_grad=True)
        toys.loss(model, toys.examples(0)).backward()
    assert seen == [torch.bfloat16]
    assert selection.current.grad.dtype == torch.float32
    assert selection.current.grad.abs().sum() > 0


def test_moves_with_its_values_and_stores_only_beta():
    selection = Selection(["x"], 2).double()
    assert selection.current.dtype == torch.float64
    assert list(selection.state_dict()) == ["beta"]


class WithConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 1)
        self.table = nn.Embedding(4, 4)
        self.attention = nn.MultiheadAttention(4, 1)
        self.linear = nn.Linear(4, 4)


@pytest.mark.parametrize("target", ["conv", "table", "attention"])
def test_other_layer_kinds_are_refused(target):
    model = get_peft_model(WithConvolution(), LoraConfig(r=2, target_modules=[target]))
    selection = Selection(list(lora_layers(model)), 2)
    with pytest.raises(UserError, match=rf"{target}.* has no linear lora_A"):
        attach(model, selection)


def test_variants_are_refused():
    model = get_peft_model(WithConvolution(), LoraConfig(r=2, target_modules=["linear"], use_dora=True))
    with pytest.raises(UserError, match="variant"):
        attach(model, Selection(["linear"], 2))


def test_mistakes_are_refused(toys):
    model = toys.model()
    with pytest.raises(UserError, match="not 0"):
        Selection(["x"], 0)
    with pytest.raises(UserError, match="at least one layer"):
        Selection(["x", "x"], 2)
    with pytest.raises(UserError, match="cannot start at 0"):
        Selection(["x"], 2, "unconstrained", initial=0)
    with pytest.raises(UserError, match="constraint=softmax with budget=2"):
        Selection(["x"], 2, budget=2)
    with pytest.raises(UserError, match="constraint=topk with budget=None"):
        Selection(["x"], 2, "topk")
    for budget in (0, 6, 7.5):
        with pytest.raises(UserError, match=f"budget of {budget} leaves nothing to choose among 6"):
            Selection(["x", "y"], 3, "topk", budget=budget)
    with pytest.raises(UserError, match="names 1 layers"):
        attach(model, Selection(["x"], 3))
    with pytest.raises(UserError, match="has rank 3, the selection 4"):
        attach(model, Selection(list(lora_layers(model)), 4))
    attach(model, selection_for(model))
    with pytest.raises(UserError, match="already attached"):
        attach(model, selection_for(model))


def test_merged_adapter_is_refused(toys):
    model = toys.model()
    selection = selection_for(model)
    model.merge_adapter()
    with pytest.raises(UserError, match="merged"):
        attach(model, selection)


def test_layers_of_different_rank_are_refused():
    config = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=1, intermediate_size=8
    )
    lora = LoraConfig(r=2, target_modules=["query"], rank_pattern={r"layer\.1\..*query": 3})
    with pytest.raises(UserError, match=r"found \[2, 3\]"):
        selection_for(get_peft_model(BertForSequenceClassification(config), lora))
