"""Whether a tokenizer is the model's: asked of the task's own examples, before anything is trained."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from autolora_bench.errors import UserError
from autolora_bench.tasks.base import Splits

MOST_UNKNOWN = 0.5
"""Share of the training examples' tokens above which they are not in the tokenizer's language."""
MEND = "put the model's own tokenizer beside its weights, or choose a model of the task's language"


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, splits: Splits) -> None:
    """Refuse a tokenizer of another model.

    Raises:
        UserError: a token of an example, or padding, has no embedding; most tokens are unknown ones; or the model
            counts positions by another padding token.
    """
    rows: Any = model.get_input_embeddings().num_embeddings
    highest = {name: _highest(split) for name, split in {"train": splits.train, **splits.held_out}.items()}
    padding = -1 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
    for name, token in {**highest, "padding": padding}.items():
        if token >= rows:
            raise UserError(
                f"{name}: the tokenizer gives token {token}, and the model has embeddings for {rows} tokens",
                MEND,
            )
    unknown = _unknown(splits.train, tokenizer)
    if unknown > MOST_UNKNOWN:
        raise UserError(
            f"train: the tokenizer does not know {unknown:.0%} of the examples' tokens ({tokenizer.unk_token})",
            MEND,
        )
    counted = _padding_of_positions(model)
    if counted is not None and counted != padding:
        raise UserError(
            f"the tokenizer pads with token {padding}, and the model counts positions after token {counted}",
            MEND,
        )


def _tokens(split: Dataset) -> Any:
    """All tokens of all examples, one after the other: of a sentence's windows, too."""
    tokens = split.select_columns("input_ids").with_format("arrow")[:]["input_ids"].combine_chunks()
    while pa.types.is_list(tokens.type) or pa.types.is_large_list(tokens.type):
        tokens = tokens.flatten()
    return tokens


def _highest(split: Dataset) -> int:
    found = pc.max(_tokens(split)).as_py() if len(split) else None
    return -1 if found is None else int(found)


def _unknown(split: Dataset, tokenizer: PreTrainedTokenizerBase) -> float:
    """Share of unknown tokens among those that stand for text."""
    also = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if tokenizer.unk_token_id in (None, *also) or not len(split):
        return 0.0
    tokens = _tokens(split)
    special = [token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id]
    text = len(tokens) - (pc.sum(pc.is_in(tokens, pa.array(special, tokens.type))).as_py() or 0)
    unknown = pc.sum(pc.equal(tokens, tokenizer.unk_token_id)).as_py() or 0
    return unknown / text if text else 0.0


def _padding_of_positions(model: PreTrainedModel) -> int | None:
    """The token whose positions RoBERTa and its kin do not count."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and isinstance(module, nn.Embedding):
            return module.padding_idx
    return None
