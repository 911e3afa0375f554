"""How good is the estimator in use? Compare it with the exact hypergradient on the same batches and masks.

The comparison leaves no trace in the run: it draws from saved random states, works on copies of the weights,
and writes to no `.grad`. Where attention dropout is drawn inside a fused kernel (CUDA), the exact pass, whose
attention must be twice differentiable, cannot repeat those masks and the cosine also shows their noise.
"""

from __future__ import annotations

import torch

from autolora_bench.search.hypergradient.base import Terms
from autolora_bench.search.hypergradient.step import InnerStep
from autolora_bench.search.hypergradient.unrolled import Unrolled


def exact_terms(step: InnerStep) -> Terms:
    """Exact terms (L, K) of remembered steps; call it after the optimizer step and before the estimator's
    `terms`, so that both validation passes draw the same masks."""
    exact = Unrolled()
    with step.preserved_random_state():
        exact.replay(step, [*step.past, step])
        return exact.terms(step)


def compare(terms: Terms, exact: Terms) -> dict[str, float]:
    """Cosine of the two totals, and the norms of each term, for the log."""
    cosine = torch.nn.functional.cosine_similarity(terms.total.flatten(), exact.total.flatten(), dim=0)
    return {
        "hypergradient_cosine": cosine.item(),
        "hypergradient_direct_norm": terms.direct.norm().item(),
        "hypergradient_implicit_norm": terms.implicit.norm().item(),
        "hypergradient_exact_implicit_norm": exact.implicit.norm().item(),
    }
