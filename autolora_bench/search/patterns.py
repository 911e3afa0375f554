"""A rank allocation as arguments of `peft.LoraConfig`, and proof that PEFT applied them.

PEFT matches the keys of `rank_pattern` and `alpha_pattern` as regular expressions against the end of a
module's name, and only warns about a key that matches nothing (peft#3582); rank and alpha come from two
separate look-ups (peft#2194). So keys here are whole names, escaped and anchored, and `verify_applied` reads
the ranks and scalings off the model.
"""

from __future__ import annotations

import math
import re
from typing import Any

from peft import LoraConfig, PeftModel

from autolora_bench.config.method import Scaling
from autolora_bench.errors import UserError, member
from autolora_bench.search.layers import lora_factors, lora_layers
from autolora_bench.search.ranks import RankAllocation


def rank_pattern(allocation: RankAllocation, scaling: Scaling | str, value: float) -> dict[str, Any]:
    """Keyword arguments for `LoraConfig`: r, lora_alpha, rank_pattern, alpha_pattern, target_modules.

    Layers of rank 0 get no adapter: they are left out of `target_modules`.

    Args:
        allocation: the ranks.
        scaling: see `Scaling`.
        value: lora_alpha for alpha_over_rank; the factor itself for constant.

    Raises:
        UserError: every rank is 0.
    """
    ranks = {_key(name): rank for name, rank in allocation.kept_ranks.items()}
    if not ranks:
        raise UserError(
            "every layer has rank 0: nothing would be trained",
            "give a layer a rank: a search with method.search.minimum_rank=1, a lower threshold or a budget does",
        )
    constant = member(Scaling, scaling, "scaling") is Scaling.constant
    highest = max(ranks.values())
    return {
        "r": highest,
        "lora_alpha": _plain(value * highest) if constant else _plain(value),
        "rank_pattern": ranks,
        "alpha_pattern": {key: _plain(value * rank) for key, rank in ranks.items()} if constant else {},
        "target_modules": "|".join(ranks),
    }


def verify_applied(model: PeftModel, allocation: RankAllocation) -> None:
    """Check that `model` carries exactly this allocation: every pattern key matches one adapted layer, every
    layer has its rank, and its scaling is that of the configuration's exact entry for it.

    Raises:
        UserError: at the first difference, naming the layer or the key.
    """
    config = model.peft_config[model.active_adapter]
    assert isinstance(config, LoraConfig)
    layers = lora_layers(model)
    wanted = allocation.kept_ranks
    if set(layers) != set(wanted):
        name = min(set(layers) ^ set(wanted))
        raise _not_applied(f"{name} {'has an adapter' if name in layers else 'has no adapter'}")
    for pattern in (config.rank_pattern or {}, config.alpha_pattern or {}):
        for key in pattern:
            matched = [name for name in layers if re.match(rf"(.*\.)?({key})$", name)]
            if len(matched) != 1:
                raise _not_applied(f"pattern key {key} matches {len(matched)} layers")
    for (name, layer), (factor_a, _) in zip(layers.items(), lora_factors(model), strict=True):
        rank = factor_a.shape[0]
        if rank != wanted[name]:
            raise _not_applied(f"{name} has rank {rank} instead of {wanted[name]}")
        scaling = _intended_alpha(config, name) / (math.sqrt(rank) if config.use_rslora else rank)
        if not math.isclose(layer.scaling[model.active_adapter], scaling, rel_tol=1e-9):
            raise _not_applied(f"{name} is scaled {layer.scaling[model.active_adapter]} instead of {scaling}")


def _intended_alpha(config: LoraConfig, name: str) -> float:
    return float((config.alpha_pattern or {}).get(_key(name), config.lora_alpha))


def _key(name: str) -> str:
    return "^" + re.escape(name)


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() else number


def _not_applied(what: str) -> UserError:
    return UserError(f"the rank allocation was not applied: {what}", "build the adapter from rank_pattern()")
