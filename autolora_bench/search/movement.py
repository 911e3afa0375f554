"""How far a search has moved: do its selection weights say anything, or are they as equal as at the start?

All selection weights of a search start equal, and a threshold turns small differences into ranks. A search whose
weights have hardly moved gives ranks that are no more than the order of noise; these numbers let a reader see that.

L layers, K components.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from autolora_bench.config.search import Constraint, Rule, is_flat, level_of
from autolora_bench.search.ranks import RankRule
from autolora_bench.search.selection import Selection

NEAR = 0.01
"""How close to its threshold a component counts as near, relative to the threshold."""


@dataclass(frozen=True)
class Spread:
    """Mean and range."""

    mean: float
    min: float
    max: float


@dataclass(frozen=True)
class Movement:
    """What became of weights that started equal."""

    relative_weight: Spread
    """Of all components: alpha over its value at the start, where it is 1. Under softmax that is alpha x K; under topk
    alpha x LK / budget, under sigmoid alpha / sigmoid(initial), unconstrained beta / initial."""
    relative_layer_weight: Spread
    """Of all layers: the sum of a layer's weights over that at the start. Always 1 under softmax, which cannot say that
    one layer matters more than another; so too under topk with a budget for every layer."""
    effective_components: Spread
    """Of all layers: exp of the entropy of a layer's weights as shares of their sum, from 1 to K. K: all are equal."""
    components: int
    """K."""
    effective_share: float
    """exp of the entropy of all LK weights as shares of their sum, over LK. 1: all are equal, within layers and between
    them. Under softmax the geometric mean of effective_components / K."""
    decision_level: Spread | None
    """Of all layers: `decision_level` over the start. Far below 1, ranks sort components that are all but off."""
    near_threshold: float
    """Share of all components whose value is within 1 % of the threshold that decides about them."""
    flat: bool
    """Whether the weights are nearly equal, or most of them near the threshold: the ranks then say next to nothing."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def movement(selection: Selection, first: float, rule: RankRule) -> Movement:
    """Measure a search by what it left.

    Unconstrained weights may be negative: shares and entropies are then those of their magnitudes, as a component of
    weight -a counts as much as one of weight a.

    Args:
        selection: the variables as they are.
        first: every alpha at the start; not 0.
        rule: what makes ranks of them (`SearchOptions.rank_rule`).

    Raises:
        UserError: as `allocate_ranks`.
    """
    alpha = selection.alpha().detach().double().cpu()
    relative = alpha / first
    magnitudes = relative.abs()
    level = decision_level(selection, rule)
    near = 0.0 if level is None else ((alpha - level).abs() <= NEAR * level.abs()).double().mean().item()
    share = effective_number(magnitudes.reshape(1, -1)).item() / alpha.numel()
    return Movement(
        _spread(relative),
        _spread(relative.mean(dim=1)),
        _spread(effective_number(magnitudes)),
        alpha.shape[1],
        share,
        None if level is None else _spread(level / first),
        near,
        is_flat(near, share),
    )


def effective_number(weights: Tensor) -> Tensor:
    """exp of the entropy of each row of non-negative (G, N) as shares of its sum: (G,), from 1 to N; 0 for zeros."""
    total = weights.sum(dim=1, keepdim=True)
    shares = weights / total.clamp_min(torch.finfo(weights.dtype).tiny)
    return torch.where(total[:, 0] > 0, torch.special.entr(shares).sum(dim=1).exp(), 0.0)


def decision_level(selection: Selection, rule: RankRule) -> Tensor | None:
    """The alpha that decides whether a component is kept, for every layer: (L, 1). Arguments as of `movement`.

    None where a budget is no more than the layers' minima, which are kept whatever their alpha.

    For Rule.mean it is the alpha of a component whose beta is its layer's mean: under softmax the geometric mean.
    With a budget there is no threshold but an order over all layers: the alpha half way between the last component that
    is kept by it, above every layer's minimum, and the first that is not.
    """
    alpha, beta = (values.detach().double().cpu() for values in (selection.alpha(), selection.beta))
    layers, components = alpha.shape
    if rule.kind is Rule.mean:
        return _alpha_of_mean(alpha, beta, selection.constraint)
    if rule.kind is not Rule.budget:
        level = level_of(rule.kind, components, rule.threshold)
        return torch.full((layers, 1), level, dtype=torch.float64)
    kept = torch.tensor(rule.allocate(alpha, selection.modules_selected).kept)
    place = alpha.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    inside, outside = alpha[kept & (place >= rule.minimum)], alpha[~kept]
    if not inside.numel():
        return None
    ends = [inside.min().item(), *outside.sort(descending=True).values[:1].tolist()]
    return torch.full((layers, 1), sum(ends) / len(ends), dtype=torch.float64)


def _alpha_of_mean(alpha: Tensor, beta: Tensor, constraint: Constraint) -> Tensor:
    if constraint is Constraint.softmax:
        return alpha.log().mean(dim=1, keepdim=True).exp()
    if constraint is Constraint.topk:  # logit alpha is beta and one number more
        return alpha.logit().mean(dim=1, keepdim=True).sigmoid()
    mean = beta.mean(dim=1, keepdim=True)
    return mean.sigmoid() if constraint is Constraint.sigmoid else mean


def _spread(values: Tensor) -> Spread:
    return Spread(values.mean().item(), values.min().item(), values.max().item())
