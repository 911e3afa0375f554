"""Estimators of the selection variables' gradient, by name."""

from autolora_bench.errors import UserError
from autolora_bench.search.hypergradient.base import Hypergradient, Terms
from autolora_bench.search.hypergradient.closed_form import ClosedForm
from autolora_bench.search.hypergradient.finite_difference import (
    CentralDifference,
    ForwardDifference,
    Released,
)
from autolora_bench.search.hypergradient.first_order import FirstOrder, Reptile
from autolora_bench.search.hypergradient.step import InnerStep
from autolora_bench.search.hypergradient.unrolled import Unrolled

ESTIMATORS: dict[str, type[Hypergradient]] = {
    "first_order": FirstOrder,
    "closed_form": ClosedForm,
    "unrolled": Unrolled,
    "forward_difference": ForwardDifference,
    "central_difference": CentralDifference,
    "released": Released,
    "reptile": Reptile,
}


def estimator(name: str) -> Hypergradient:
    """A new estimator; raises UserError for an unknown name."""
    if name not in ESTIMATORS:
        raise UserError(f"unknown hypergradient {name!r}", f"choose one of {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]()


__all__ = ["ESTIMATORS", "Hypergradient", "InnerStep", "Terms", "estimator"]
