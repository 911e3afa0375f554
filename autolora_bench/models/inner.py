"""Where IA3 (Liu et al., 2022, section 3.3) puts its factors: keys, values (those of both halves and between them too),
the feed-forward layers' inside."""

import re

from transformers import PreTrainedModel

from autolora_bench.config.architectures import ARCHITECTURES
from autolora_bench.errors import UserError


def scaled_modules(model: PreTrainedModel) -> tuple[list[str], list[str]]:
    """Full names of the layers whose outputs, and of those whose inputs, are scaled.

    Raises:
        UserError: the architecture's layers are not known, or query, key and value of GPT-2 are one layer.
    """
    architecture = model.config.model_type
    known = {name: one.factors for name, one in ARCHITECTURES.items() if one.factors is not None}
    if architecture not in known:
        raise UserError(
            f"which layers of a {architecture} model IA3 scales is not known",
            f"choose one of: {', '.join(known)}",
        )
    factors = known[architecture]
    attention = (factors.key, factors.value)
    names = [name for name, _ in model.named_modules()]
    outputs = [name for name in names if any(name.endswith(f".{ending}") for ending in attention)]
    inputs = [name for name in names if re.search(f"{factors.inside}$", name)]
    if not outputs:
        raise UserError(
            f"this {architecture} model has no layers {' and '.join(attention)}",
            "leave out model.targets, so that query, key and value are layers of their own",
        )
    return outputs, inputs
