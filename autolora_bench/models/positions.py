"""How many tokens a model has positions for."""

from torch import nn
from transformers import PreTrainedModel


def positions(model: PreTrainedModel) -> int | None:
    """The longest input in tokens; None where the architecture sets no limit.

    RoBERTa and its kin count positions from after the padding token's index: 514 of them hold 512 tokens.
    """
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    most = getattr(model.config, "max_position_embeddings", None)
    return None if most is None else int(most)
