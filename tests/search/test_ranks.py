"""Ranks from selection variables, against brute force."""

import itertools
import json

import numpy as np
import pytest
import torch

from autolora_bench.config.search import Rule
from autolora_bench.errors import UserError
from autolora_bench.search import RankAllocation, RankRule, allocate_ranks

NAMES = ["a", "b", "c"]


def table(seed: int = 0, rows: int = 3, columns: int = 4) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("components", [1, 3, 7, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -3.7])
def test_equal_variables_keep_every_component(components, dtype, value):
    beta = torch.full((3, components), value, dtype=dtype)
    alpha = beta.float().softmax(dim=-1)
    assert allocate_ranks(alpha, NAMES, Rule.reciprocal).ranks == (components,) * 3
    assert allocate_ranks(beta, NAMES, Rule.mean).ranks == (components,) * 3
    assert allocate_ranks(torch.full((3, components), 0.5), NAMES, Rule.half).ranks == (components,) * 3


def test_rules_against_loops():
    beta = table()
    alpha = beta.softmax(dim=-1)
    reciprocal = [[a >= 1 / 4 for a in row] for row in alpha.tolist()]
    mean = [[b >= sum(row) / 4 for b in row] for row in beta.tolist()]
    half = [[a >= 0.5 for a in row] for row in beta.sigmoid().tolist()]
    custom = [[a >= 0.3 for a in row] for row in alpha.tolist()]
    assert [list(r) for r in allocate_ranks(alpha, NAMES).kept] == reciprocal
    assert [list(r) for r in allocate_ranks(beta, NAMES, "mean").kept] == mean
    assert [list(r) for r in allocate_ranks(beta.sigmoid(), NAMES, "half").kept] == half
    assert [list(r) for r in allocate_ranks(alpha, NAMES, "threshold", threshold=0.3).kept] == custom


def test_a_rule_by_its_name_is_the_rule():
    values = table()
    for rule, more in ((Rule.mean, {}), (Rule.budget, {"budget": 5}), (Rule.threshold, {"threshold": 0.3})):
        named = RankRule(rule.name, **more).allocate(values, NAMES)
        assert (
            named
            == RankRule(rule, **more).allocate(values, NAMES)
            == allocate_ranks(values, NAMES, rule, **more)
        )
    with pytest.raises(UserError, match="rule"):
        RankRule("men")


def test_any_table_of_values_is_taken():
    rows = [[0.1, 0.5, 0.4], [0.3, 0.3, 0.4]]
    for values in (rows, np.array(rows), torch.tensor(rows, dtype=torch.float64, requires_grad=True)):
        assert allocate_ranks(values, ["a", "b"], "budget", budget=3).kept == (
            (False, True, True),
            (False, False, True),
        )
    for ragged in ([[0.1], [0.2, 0.3]], [["x"], ["y"]], None):
        with pytest.raises(UserError, match="no table of numbers"):
            allocate_ranks(ragged, ["a", "b"])


def test_softmax_never_empties_a_layer_and_sigmoid_can():
    for seed in range(50):
        assert min(allocate_ranks(table(seed).softmax(dim=-1), NAMES).ranks) >= 1
    low = torch.full((3, 4), -1.0).sigmoid()
    assert allocate_ranks(low, NAMES, Rule.half).ranks == (0, 0, 0)
    assert allocate_ranks(low, NAMES, Rule.half, minimum=1).ranks == (1, 1, 1)


@pytest.mark.parametrize("minimum", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_budget_keeps_the_best_total(seed, minimum):
    """Against every subset of the right size."""
    alpha = table(seed, rows=2, columns=3).softmax(dim=-1)
    for budget in range(2 * minimum, 7):
        best, chosen = -1.0, None
        for subset in itertools.combinations(range(6), budget):
            rows = {i // 3 for i in subset}
            total = sum(alpha.flatten()[i].item() for i in subset)
            if (minimum == 0 or rows == {0, 1}) and total > best:
                best, chosen = total, subset
        kept = allocate_ranks(alpha, NAMES[:2], "budget", budget=budget, minimum=minimum).kept
        assert tuple(i for i, flag in enumerate(itertools.chain(*kept)) if flag) == chosen


def test_budget_spreads_ties_over_layers():
    equal = torch.full((3, 4), 0.25)
    assert allocate_ranks(equal, NAMES, Rule.budget, budget=6).ranks == (2, 2, 2)
    assert allocate_ranks(equal, NAMES, Rule.budget, budget=7).ranks == (3, 2, 2)


def test_minimum_keeps_the_highest():
    alpha = torch.tensor([[0.1, 0.4, 0.2]])
    allocation = allocate_ranks(alpha, ["a"], Rule.threshold, threshold=0.9, minimum=2)
    assert allocation.kept == ((False, True, True),)


def test_survives_json():
    allocation = allocate_ranks(table().softmax(dim=-1), NAMES)
    data = json.loads(json.dumps(allocation.to_dict()))
    assert RankAllocation.from_dict(data) == allocation
    assert data["total"] == allocation.total == sum(data["ranks"].values())
    assert allocation.mean == allocation.total / 3
    with pytest.raises(UserError, match="needs 'kept'"):
        RankAllocation.from_dict({"ranks": {"a": 1}})


def test_controls_are_allocations_too():
    allocation = RankAllocation.from_ranks(NAMES, [2, 0, 3])
    assert allocation.ranks == (2, 0, 3)
    assert allocation.kept[0] == (True, True, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "threshold"}, "rule=threshold with threshold=None"),
        ({"rule": "mean", "threshold": 0.1}, "rule=mean with threshold=0.1"),
        ({"rule": "budget"}, "rule=budget with budget=None"),
        ({"rule": "budget", "budget": 13}, "budget 13 for 3 layers"),
        ({"rule": "budget", "budget": 2, "minimum": 1}, "budget 2 for 3 layers"),
        ({"minimum": 5}, "minimum rank 5"),
        ({"rule": "median"}, "unknown rule 'median'"),
    ],
)
def test_mistakes_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        allocate_ranks(table(), NAMES, **arguments)


def test_bad_tables_are_refused():
    with pytest.raises(UserError, match="not finite"):
        allocate_ranks(torch.tensor([[float("nan"), 1.0]]), ["a"])
    with pytest.raises(UserError, match="for 2 layers"):
        allocate_ranks(table(), NAMES[:2])
