"""How far a search has moved, against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from autolora_bench.config.search import Constraint, Rule, Scope
from autolora_bench.search import Movement, RankRule, Selection, movement
from autolora_bench.search.movement import decision_level, effective_number

L, K = 3, 8
PAPER = RankRule(Rule.reciprocal)
NAMES = ["a", "b", "c"]


def left(
    beta: Tensor, constraint: str = "softmax", budget: float | None = None, scope: Scope = Scope.model
) -> Selection:
    """A selection as a search has left it."""
    initial = 1.0 if constraint != "sigmoid" else 0.0
    found = Selection(NAMES[: len(beta)], beta.shape[1], constraint, initial, budget, scope)
    found.beta.data.copy_(beta)
    found.refresh()
    return found


def from_alpha(alpha: Tensor) -> Selection:
    """Under softmax."""
    return left(alpha.log())


CONSTRAINTS = [
    ("softmax", None, Rule.reciprocal, {}),
    ("softmax", None, Rule.mean, {}),
    ("sigmoid", None, Rule.half, {}),
    ("unconstrained", None, Rule.mean, {}),
    ("unconstrained", None, Rule.threshold, {"threshold": 1.0}),
    ("topk", 12.0, Rule.half, {}),
    ("topk", 12.0, Rule.budget, {"budget": 12, "minimum": 1}),
    ("softmax", None, Rule.budget, {"budget": 12, "minimum": 1}),
]


@pytest.mark.parametrize(("constraint", "budget", "rule", "options"), CONSTRAINTS)
def test_at_the_start_every_weight_is_equal_and_the_search_is_flat(constraint, budget, rule, options):
    selection = Selection(NAMES, K, constraint, 0.0 if constraint == "sigmoid" else 1.0, budget)
    found = movement(selection, float(selection.current[0, 0]), RankRule(rule, **options))
    for spread, value in (
        (found.relative_weight, 1.0),
        (found.relative_layer_weight, 1.0),
        (found.effective_components, float(K)),
    ):
        assert (spread.mean, spread.min, spread.max) == pytest.approx((value,) * 3)
    assert found.effective_share == pytest.approx(1)
    assert (found.near_threshold, found.flat, found.components) == (1, True, K)


def test_of_n_equal_components_the_effective_number_is_n() -> None:
    weights = torch.zeros(K, K, dtype=torch.float64)
    for n in range(K):
        weights[n, : n + 1] = 0.3 * (n + 1)
    assert effective_number(weights).tolist() == pytest.approx(range(1, K + 1))
    assert effective_number(torch.zeros(1, 3)).tolist() == [0]
    p = torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64)
    assert effective_number(p).item() == pytest.approx(2**1.75), "entropy of 1.75 bits"


def test_a_softmax_search_that_has_decided() -> None:
    """Two layers: one keeps a single component, one two of them; alpha x K runs from 0 to K."""
    alpha = torch.full((2, K), 1e-12, dtype=torch.float64)
    alpha[0, 0] = 1
    alpha[1, :2] = 0.5
    found = movement(from_alpha(alpha), 1 / K, PAPER)
    assert (found.relative_weight.min, found.relative_weight.max) == pytest.approx((0, K), abs=1e-5)
    assert (found.effective_components.min, found.effective_components.max) == pytest.approx((1, 2), abs=1e-5)
    assert found.effective_share == pytest.approx(math.sqrt(1 * 2) / K, rel=1e-5), "geometric mean over K"
    assert found.relative_layer_weight.min == pytest.approx(found.relative_layer_weight.max)
    assert (found.near_threshold, found.flat) == (0, False)


@pytest.mark.parametrize(("c", "flat"), [(0.05, True), (0.13, True), (0.15, False), (0.4, False)])
def test_a_deviation_of_c_has_an_effective_share_of_1_minus_half_its_square(c: float, flat: bool) -> None:
    """Half of the weights at 1 + c, half at 1 - c; none near 1."""
    relative = 1 + c * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(K // 2).expand(L, K)
    found = movement(from_alpha(relative / K), 1 / K, PAPER)
    exact = math.exp(-((1 + c) * math.log(1 + c) + (1 - c) * math.log(1 - c)) / 2)
    assert found.effective_share == pytest.approx(exact, rel=1e-6)
    assert found.effective_share == pytest.approx(1 - c**2 / 2, abs=c**4)
    assert (found.relative_weight.min, found.relative_weight.max) == pytest.approx((1 - c, 1 + c), rel=1e-6)
    assert (found.near_threshold, found.flat) == (0, flat)


def test_the_share_near_the_threshold_is_counted() -> None:
    """Of eight components three are within 1 % of 1/K; four make a search flat, however far the others are."""
    relative = torch.tensor([[1.009, 0.991, 1.0, 1.011, 0.5, 0.5, 0.5, 2.489]], dtype=torch.float64)
    found = movement(from_alpha(relative / K), 1 / K, PAPER)
    assert (found.near_threshold, found.flat) == (3 / K, False)
    relative = torch.tensor([[1.009, 0.991, 1.0, 0.995, 0.5, 0.5, 0.5, 2.505]], dtype=torch.float64)
    found = movement(from_alpha(relative / K), 1 / K, PAPER)
    assert (found.near_threshold, found.flat) == (4 / K, True)


def test_only_a_budget_over_the_model_lets_layers_differ() -> None:
    """Under topk a layer of weights near 1 beside one near 0: within each all are equal, and yet it is not flat."""
    beta, over_all = torch.tensor([6.0, 0.0, -6.0])[:, None].expand(L, K), RankRule(Rule.budget, budget=12)
    found = movement(left(beta, "topk", 12.0), 0.5, over_all)
    assert found.effective_components.min == pytest.approx(K)
    assert (found.relative_layer_weight.min, found.relative_layer_weight.max) == pytest.approx(
        (2 / (1 + math.e**6), 2 / (1 + math.e**-6)), rel=1e-5
    )
    assert not found.flat
    within = movement(left(beta, "topk", 12.0, Scope.layer), 0.5, over_all)
    assert within.flat
    softmax = movement(left(beta), 1 / K, PAPER)
    assert softmax.flat
    assert softmax.relative_layer_weight.max == pytest.approx(1)


def test_unconstrained_weights_count_by_magnitude() -> None:
    found = movement(left(torch.tensor([[2.0, -2.0, 0.0, 0.0]]), "unconstrained"), 1.0, RankRule(Rule.mean))
    assert (found.relative_weight.min, found.relative_weight.max) == (-2, 2)
    assert found.effective_components.mean == pytest.approx(2)


@pytest.mark.parametrize(("constraint", "budget", "rule", "options"), CONSTRAINTS)
@pytest.mark.parametrize("seed", range(5))
def test_the_level_is_where_the_rule_decides(constraint, budget, rule, options, seed):
    """Against the allocation itself: what is above it is kept, what is below is not."""
    beta = torch.randn(L, K, generator=torch.Generator().manual_seed(seed))
    selection = left(beta, constraint, budget)
    decides = RankRule(rule, options.get("threshold"), options.get("budget"))
    values = selection.beta if rule.reads_beta else selection.alpha()
    kept = torch.tensor(decides.allocate(values, NAMES).kept)
    assert torch.equal(selection.alpha().double() > decision_level(selection, decides), kept)


def test_a_layers_minimum_is_not_what_the_budget_decides() -> None:
    """Layer b keeps its best, 0.1, whatever the budget: that is decided between 0.6 and 0.5."""
    alpha = torch.tensor([[0.9, 0.8, 0.6, 0.5], [0.1, 0.05, 0.04, 0.03]])
    selection = left(alpha.logit(), "sigmoid")
    level = decision_level(selection, RankRule(Rule.budget, budget=4, minimum=1))
    assert level.flatten().tolist() == pytest.approx([0.55, 0.55], rel=1e-6)
    found = movement(selection, 0.25, RankRule(Rule.budget, budget=4, minimum=1)).decision_level
    assert (found.mean, found.min, found.max) == pytest.approx((2.2, 2.2, 2.2), rel=1e-6)
    assert decision_level(selection, RankRule(Rule.budget, budget=2, minimum=1)) is None
    minima = movement(selection, 0.25, RankRule(Rule.budget, budget=2, minimum=1))
    assert (minima.decision_level, minima.near_threshold) == (None, 0)
    everything = decision_level(selection, RankRule(Rule.budget, budget=8))
    assert everything[0].item() == pytest.approx(0.03, rel=1e-5)


def test_it_is_plain_data_for_a_record() -> None:
    found = movement(from_alpha(torch.full((2, 4), 0.25)), 0.25, PAPER)
    assert isinstance(found, Movement)
    plain = found.to_dict()
    assert plain["relative_weight"] == {"mean": 1, "min": 1, "max": 1}
    assert set(plain) == {
        *("relative_weight", "relative_layer_weight", "effective_components", "components"),
        *("effective_share", "decision_level", "near_threshold", "flat"),
    }
    assert plain["decision_level"] == {"mean": 1, "min": 1, "max": 1}
    assert Constraint.softmax is Constraint("softmax")
