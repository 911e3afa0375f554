"""Whether a model fits a task's examples, asked before anything is trained: by its tokenizer and by its positions."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from autolora_bench.config.task import GenerationTask, TaskConfig
from autolora_bench.errors import UserError
from autolora_bench.tasks.base import Splits

MOST_UNKNOWN = 0.5
"""Share of the training examples' tokens above which they are not in the tokenizer's language."""
MEND = "put the model's own tokenizer beside its weights, or choose a model of the task's language"


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, splits: Splits) -> None:
    """Refuse a tokenizer of another model.

    Raises:
        UserError: a token of an example, of a text to be written, or padding has no embedding; most tokens are unknown
            ones; or the model counts positions by another padding token.
    """
    rows: Any = model.get_input_embeddings().num_embeddings
    highest = {f"label {text!r}": max(tokens) for text, tokens in splits.answers.items()}
    highest |= {name: _highest(split) for name, split in {"train": splits.train, **splits.held_out}.items()}
    if _writes(model):
        highest["train, texts to be written"] = _highest(splits.train, "labels")
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


def _writes(model: PreTrainedModel) -> bool:
    """Whether labels are tokens: those of a classifier or tagger are numbers of its classes."""
    head: Any = model
    return head.get_output_embeddings() is not None


def _all_tokens(split: Dataset, column: str = "input_ids") -> Any:
    """All tokens of all examples, one after the other: of a sentence's windows, too."""
    tokens = split.select_columns(column).with_format("arrow")[:][column].combine_chunks()
    while pa.types.is_list(tokens.type) or pa.types.is_large_list(tokens.type):
        tokens = tokens.flatten()
    return tokens


def _highest(split: Dataset, column: str = "input_ids") -> int:
    found = pc.max(_all_tokens(split, column)).as_py() if len(split) else None
    return -1 if found is None else int(found)


def _unknown(split: Dataset, tokenizer: PreTrainedTokenizerBase) -> float:
    """Share of unknown tokens among those that stand for text."""
    also = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if tokenizer.unk_token_id in (None, *also) or not len(split):
        return 0.0
    tokens = _all_tokens(split)
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


def positions(model: PreTrainedModel) -> int | None:
    """The longest input in tokens; None where the architecture sets no limit.

    RoBERTa and its kin count positions from after the padding token's index: 514 of them hold 512 tokens.
    """
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return stated_positions(model.config)


def stated_positions(config: PreTrainedConfig) -> int | None:
    """The longest input by a config.json; None where the architecture sets no limit, as T5's."""
    most = getattr(config, "max_position_embeddings", None)
    return None if most is None or most < 0 else int(most)  # XLNet says -1


def check_room(
    model: PreTrainedModel,
    task: TaskConfig,
    splits: Splits,
    virtual: int = 0,
    setting: str = "method.virtual_tokens",
) -> None:
    """Refuse a model that has not enough positions for an example, its virtual tokens and the longest output.

    Args:
        model: of transformers.
        task: its longest input and output.
        splits: the tokenised examples.
        virtual: tokens that a method reads before every input.
        setting: what says so.

    Raises:
        UserError: naming the split and the tokens of its longest example.
    """
    most = positions(model)
    generated = task.decoding.max_new_tokens if isinstance(task, GenerationTask) else 0
    halves = bool(model.config.is_encoder_decoder)
    if halves:  # each half has all positions to itself
        check_output(model, generated, virtual)
        generated = 0
    if most is None or task.max_length + generated + virtual <= most:
        return
    for name, split in {"train": splits.train, **splits.held_out}.items():
        tokens = {"example": max((_tokens(row) for row in split["input_ids"]), default=0)}
        if halves and name == "train" and _writes(model):
            tokens["text to be written"] = max(map(len, split["labels"]), default=0)
        what, longest = max(tokens.items(), key=lambda item: item[1])
        added = generated if name != "train" else 0
        if longest + added + virtual > most:
            more = [f"{setting}={virtual}"] if virtual else []
            more += [f"{added} to be generated"] if added else []
            raise UserError(
                f"{name}: its longest {what} has {longest} tokens; {'with ' if more else ''}{' and '.join(more)}"
                f"{' ' if more else ''}they do not fit into the model's {most} positions",
                f"lower {f'{setting}, or ' if virtual else ''}task.max_length (for texts "
                "task.decoding.max_new_tokens), or choose a model with a longer context",
            )


def check_output(model: PreTrainedModel, generated: int, virtual: int = 0) -> None:
    """Raises UserError where the half of an encoder-decoder that writes has not enough positions."""
    most = positions(model)
    if most is not None and generated + virtual > most:
        before = f" after {virtual} virtual tokens" if virtual else ""
        raise UserError(
            f"task.decoding.max_new_tokens={generated} does not fit{before} into the model's {most} positions",
            f"say task.decoding.max_new_tokens={most - virtual} or less",
        )


def _tokens(row: Sequence[Any]) -> int:
    """Tokens of an example, or of the longest window of a sentence."""
    return max(map(len, row)) if row and isinstance(row[0], list) else len(row)
