"""Which layers of a model are adapted: the query and value projections, as in the paper, all, or those asked for."""

import re

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from autolora_bench.config.model import ALL_LINEAR, ModelConfig
from autolora_bench.errors import UserError
from autolora_bench.models.architectures import QUERY_AND_VALUE

SHARED_NAMES = ("dense", "c_proj")
"""Last parts of names that several layers of one block have."""
IN_BLOCK = r"\.(\d+)\."


def target_modules(model: PreTrainedModel, config: ModelConfig) -> list[str]:
    """Full names of the adapted layers, in the model's order.

    Raises:
        UserError: the architecture is unknown and `config.targets` is not set, or no layer matches.
    """
    endings = config.targets or QUERY_AND_VALUE.get(model.config.model_type)
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    if endings == [ALL_LINEAR]:
        return [name for name in linear if re.search(IN_BLOCK, name)]
    known = sorted({re.sub(r"^.*\.", "", name) for name in linear})
    if endings is None:
        raise UserError(
            f"which layers of a {model.config.model_type} model to adapt is not known",
            f"say model.targets=[...] with names among: {', '.join(known)}",
        )
    found = [
        name for name in linear if any(name == ending or name.endswith(f".{ending}") for ending in endings)
    ]
    missing = [
        ending for ending in endings if not any(n == ending or n.endswith(f".{ending}") for n in found)
    ]
    if missing:
        raise UserError(
            f"model.targets: no linear layer of {config.name!r} is called {missing[0]!r}",
            f"choose among: {', '.join(known)}",
        )
    return found


def block_and_projection(module: str) -> tuple[int | None, str]:
    """Block number and projection of a layer: bert.encoder.layer.3.attention.self.query -> 3, query.

    A name that several layers of a block have is kept in full: ...layer.3.attention.output.dense ->
    3, attention.output.dense.
    """
    block = re.search(IN_BLOCK, f".{module}.")
    last = module.rsplit(".", 1)[-1]
    inside = module[block.end() - 1 :] if block else module
    return (int(block[1]) if block else None), inside if last in SHARED_NAMES else last
